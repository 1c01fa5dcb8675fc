"""What strategies leave beside their recommendations: shown, drawn, refused where there is none."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from jobs_bench.cli import main as cli
from jobs_bench.store.folder import study_folders


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jobs-bench", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One study of `jobs`, which explains itself, and one of `random`, which does not."""
    out = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        names = ["--strategy", "jobs", "--strategy", "random"]
        assert _run(patch, "run", "--task", "synthetic", *names, "--budget", "14x",
                    "--out", str(out)) == 0  # fmt: skip
    return out


def _of(studies: Path, strategy: str) -> Path:
    return next(f.root for f in study_folders(studies) if f.manifest().strategy == strategy)


def test_text_names_the_split_and_the_predictors(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "explain", str(studies)) == 0
    out, _ = capfd.readouterr()
    assert "How far trials were taken" in out
    assert "pilots" in out
    assert "Which predictor is believed at each step" in out
    assert "rank: carry" in out


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_curves_are_drawn(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                          suffix: str) -> None:  # fmt: skip
    plot = tmp_path / f"plot{suffix}"
    assert _run(monkeypatch, "explain", str(_of(studies, "jobs")), "--plot", str(plot)) == 0
    assert plot.stat().st_size > 5000


def test_json_is_the_artifacts(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert _run(monkeypatch, "explain", str(studies), "--json") == 0
    out, _ = capfd.readouterr()
    (named,) = json.loads(out).values()
    assert {"split", "predictors", "calibration"} <= set(named)


def test_what_cannot_be_explained(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refused(*arguments: str) -> str:
        assert _run(monkeypatch, "explain", *arguments) == 2
        return capfd.readouterr().err

    capfd.readouterr()
    assert "no study here" in refused(str(tmp_path))
    assert "leave nothing to explain" in refused(str(_of(studies, "random")))
    assert "wanted a name that ends in .svg" in refused(str(studies), "--plot", "plot.exe")
    open_study = tmp_path / "open"
    shutil.copytree(_of(studies, "jobs"), open_study)
    shutil.rmtree(open_study / "artifacts")
    journal = open_study / "events.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:5]))
    assert "1 of 1 studies are not closed" in refused(str(open_study))
    damaged = tmp_path / "damaged"
    shutil.copytree(_of(studies, "jobs"), damaged)
    (damaged / "artifacts" / "split.json").write_text("[1]")
    assert "wanted a JSON object" in refused(str(damaged))
