"""The leaderboard of pytest-benchmark files: real files, made by a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs_bench.errors import DataError
from jobs_bench.report.benchmarks import read, seconds_text, write

SUITE = """
import time, pytest

@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("name", ["mine", "<b>"])
def test_ask(benchmark, name, n):
    benchmark.extra_info |= {"kind": "ask", "strategy": name, "n": n, "of": "other 1.2"}
    benchmark.pedantic(time.sleep, (n * 1e-5,), rounds=2)

@pytest.mark.parametrize("name", ["mine", "<b>"])
def test_study(benchmark, name):
    scores = {"mine": [10.0, 30.0], "<b>": [60.0, 80.0]}[name]
    benchmark.extra_info |= {
        "kind": "study", "strategy": name, "of": "other 1.2", "scores": scores, "task": "toy"}
    benchmark.pedantic(time.sleep, (1e-3,), rounds=2)

@pytest.mark.parametrize("n", [7])
@pytest.mark.parametrize("how", ["fast", "slow"])
def test_op(benchmark, how, n):
    benchmark.pedantic(time.sleep, ({"fast": 1e-3, "slow": 4e-3}[how],), rounds=3)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_suite.py").write_text(SUITE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-json=out.json", "test_suite.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out.json"


def test_strategies_and_operators(file: Path) -> None:
    found = read([file])
    assert [r.strategy for r in found.strategies] == ["<b>", "mine"]  # the better one first
    first = found.strategies[0]
    assert first.score is not None
    assert (first.score.value, first.score.low, first.score.high) == (70, 60, 80)
    assert (first.of, first.task, first.seeds) == ("other 1.2", "toy", 2)
    assert 0 < first.studies_per_s < 1000
    assert list(first.ask_s) == [10, 50]
    assert first.ask_s[50] > 50e-5
    fast, slow = found.operators
    assert (fast.test, fast.case, fast.how, slow.how) == ("test_op", "n 7", "fast", "slow")
    assert slow.speed_up == 1.0
    assert fast.speed_up > 1.0
    assert any(note.startswith("measured on: ") for note in found.notes)


def test_files_are_written_the_same_twice_and_escaped(file: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(read([file]), tmp_path / name)
    for name in ("benchmarks.md", "benchmarks.csv", "benchmarks.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    page = (tmp_path / "a" / "benchmarks.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    json.dumps(read([file]).to_json(), allow_nan=False)


def test_the_last_file_counts(file: Path, tmp_path: Path) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    data["benchmarks"] = [b for b in data["benchmarks"] if b["extra_info"].get("kind") == "study"]
    for one in data["benchmarks"]:
        one["extra_info"]["scores"] = [0.0, 0.0]
    data["machine_info"]["cpu"] = {"brand_raw": "another"}
    (tmp_path / "later.json").write_text(json.dumps(data), encoding="utf-8")
    found = read([file, tmp_path / "later.json"])
    assert {r.score.value for r in found.strategies if r.score} == {0.0}
    assert "2 benchmarks are in several files: the last file counts" in found.notes
    assert any("do not compare" in note for note in found.notes)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"benchmarks": [{}]}'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json: (cannot be read|got no file of pytest)"):
        read([tmp_path / "x.json"])


def test_times_are_told_in_the_unit_people_would_choose() -> None:
    assert [seconds_text(t) for t in (12.0, 0.5, 2e-5, 3e-9)] == ["12 s", "500 ms", "20 µs", "3 ns"]
