"""``jobs-bench leaderboard``, ``compare`` and ``paper`` from end to end, on live studies."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jobs_bench.cli import main as cli

Run = Callable[..., tuple[int, str, str]]
TASK = "pocket_word2?n_visible=4&n_hidden=4&batch_size=2"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jobs-bench", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return command


@pytest.mark.slow
def test_from_studies_to_paper(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "runs")
    order = ["run", "--task", TASK, "--budget", "1x", "--oracle-seeds", "1", "--out", out]
    seeds = ["--seed", "0", "--seed", "1", "--seed", "2"]
    assert run(*order, "--strategy", "random", *seeds)[0] == 0
    assert run(*order, "--strategy", "sobol", "--seed", "0")[0] == 0
    key = f"{TASK} with pocket"
    status, _, err = run("leaderboard", "freeze", out, "--best-known", f"{key}=5.0")
    assert status == 0, err
    status, text, err = run("leaderboard", "build", out)
    assert status == 0, err
    assert "4 studies: 2 methods on 1 task." in text
    status, text, _ = run("leaderboard", "build", out, "--json")
    assert [r["studies"] for r in json.loads(text)["boards"][0]["rows"]] in ([3, 1], [1, 3])
    status, text, err = run("compare", "sobol", "random", out)
    assert status == 0, err
    assert "1 pair on 1 task" in text
    assert "too few, not tested" in text
    assert (
        json.loads(run("compare", "sobol", "random", out, "--json")[1])[0]["overall"]["pairs"] == 1
    )
    status, text, err = run("paper", out, "--out", str(tmp_path / "paper"))
    assert status == 0, err
    assert "bergstra2012" in (tmp_path / "paper" / "references.bib").read_text(encoding="utf-8")
    assert run("leaderboard", "freeze", out)[0] == 2  # they are frozen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["leaderboard", "build", "."], "no study at or below"),
     (["leaderboard", "build", "gone"], "no such folder"),
     (["leaderboard", "freeze", "."], "no study at or below"),
     (["leaderboard", "freeze", ".", "--noise-floor", "x"], "no study at or below"),
     (["leaderboard", "from-benchmarks", "gone.json"], "gone.json: cannot be read"),
     (["compare", "a", "b"], "results: no such folder"),
     (["compare", "a"], "Missing argument"),
     (["paper", ".", "--out", "p"], "no study at or below")],
)  # fmt: skip
def test_bad_input_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert (status, err.count("\n")) == (2, 1), err
    assert words in err
    assert list(tmp_path.iterdir()) == []
