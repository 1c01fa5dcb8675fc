"""The plug-in of ``examples/`` is installed for real, beside a broken and a clashing one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROKEN = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "jobs-bench-broken"
version = "1.2.3"
[project.entry-points."jobs_bench.strategies"]
broken = "jobs_bench_broken:Nothing"
random = "jobs_bench_broken:Clash"
[tool.setuptools]
py-modules = ["jobs_bench_broken"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path with the example plug-in and a broken one, both built and installed."""
    work = tmp_path_factory.mktemp("plugins")
    shutil.copytree(ROOT / "examples" / "plugin", work / "greedy")
    (work / "broken").mkdir()
    (work / "broken" / "pyproject.toml").write_text(BROKEN, encoding="utf-8")
    (work / "broken" / "jobs_bench_broken.py").write_text(
        "raise ImportError('this one never works')\n\nclass Nothing: ...\nclass Clash: ...\n",
        encoding="utf-8",
    )
    site = work / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), "./greedy", "./broken"], check=True, cwd=work)
    return site


def _run(site: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(site), "JOBS_BENCH_CACHE": str(site / "cache")}
    return subprocess.run(
        [sys.executable, "-P", *command],
        env=env,
        cwd=site,
        check=check,
        capture_output=True,
        text=True,
    )


def test_installed_plugins_are_listed_broken_ones_as_broken(site: Path) -> None:
    answer = _run(site, "-m", "jobs_bench.cli.main", "list", "strategies", "--json")
    rows = {(r["name"], r["distribution"]): r for r in json.loads(answer.stdout)}
    assert rows["greedy", "jobs-bench-greedy"]["status"] == "ok"
    assert rows["greedy", "jobs-bench-greedy"]["version"] == "0.1.0"
    broken = rows["broken", "jobs-bench-broken"]
    assert broken["status"] == "broken"
    assert "this one never works" in broken["problem"]
    assert rows["bo", "jobs-bench"]["status"] == "ok"
    clash = rows["random", "jobs-bench"]
    assert clash["status"] == "broken"
    assert "two plug-ins claim the strategy 'random'" in clash["problem"]


def test_a_clash_and_a_broken_plugin_are_refused_when_used(site: Path) -> None:
    for name, words in (("random", "two plug-ins claim"), ("broken", "cannot be imported")):
        answer = _run(
            site, "-m", "jobs_bench.cli.main", "run", "--task", "pocket_word2",
            "--strategy", name, "--out", "never", check=False,
        )  # fmt: skip
        assert answer.returncode == 2, answer.stderr
        assert words in answer.stderr
        assert answer.stderr.count("\n") == 1, "one line"
        assert not (site / "never" / "pocket_word2-pocket").exists()


@pytest.mark.slow
def test_the_example_passes_the_contract_kit(site: Path) -> None:
    code = (
        "from jobs_bench.registry.loading import strategy_factory as f\n"
        "from jobs_bench.testing.strategy_contract import check_strategy\n"
        "check_strategy(f('greedy?width=0.2'))\n"
    )
    _run(site, "-c", code)
