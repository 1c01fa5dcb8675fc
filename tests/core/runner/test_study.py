from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from jobs_bench.errors import BudgetError, JournalError
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.machine import Machine
from jobs_bench.store.folder import StudyFolder
from jobs_bench.store.journal import read
from jobs_bench.testing.synthetic import Synthetic

SCRIPT = Path(__file__).with_name("study_process.py")


@pytest.fixture(scope="module")
def process() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_process", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("workers", [1, 3])
def test_a_journal_cut_anywhere_grows_back_the_same(
    process: ModuleType, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    whole = tmp_path / "whole"
    process.main(whole, "synthetic", workers)
    journal = (whole / "events.jsonl").read_bytes()
    lines = journal.splitlines(keepends=True)
    assert len(lines) > 20
    for cut in range(len(lines)):
        folder = tmp_path / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("oracle"))
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
        process.main(folder, "synthetic", workers)
        assert (folder / "events.jsonl").read_bytes() == journal, f"cut after {cut} events"


def _kill_and_resume(folder: Path, kind: str, kills: int, seconds: float) -> None:
    """Kill the study `kills` times at random moments, then let it end."""
    rng = random.Random(7)
    command = [sys.executable, str(SCRIPT), str(folder), kind, "1"]
    killed = 0
    while killed < kills:
        child = subprocess.Popen(command, stderr=subprocess.PIPE)
        # the clock starts when the study is open: a kill during the imports shows nothing
        notes = folder / "timings.jsonl"
        before = notes.stat().st_size if notes.exists() else 0
        while child.poll() is None and (not notes.exists() or notes.stat().st_size == before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, seconds))
        if child.poll() is not None:
            assert child.returncode == 0, child.communicate()[1].decode()
            child.communicate()
            break
        child.send_signal(signal.SIGKILL)
        child.communicate()
        killed += 1
    assert killed >= kills // 2, "the study ended before it could be killed often enough"
    subprocess.run(command, check=True)


@pytest.mark.slow
def test_twenty_kills_leave_no_trace_in_the_journal(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    subprocess.run([sys.executable, str(SCRIPT), str(undisturbed), "synthetic", "1"], check=True)
    _kill_and_resume(tmp_path / "killed", "synthetic", kills=20, seconds=0.06)
    want = (undisturbed / "events.jsonl").read_bytes()
    assert (tmp_path / "killed" / "events.jsonl").read_bytes() == want


@pytest.mark.slow
def test_killed_training_resumes_from_its_checkpoints(tmp_path: Path, tiny_folder: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    kind = str(tiny_folder)
    subprocess.run([sys.executable, str(SCRIPT), str(undisturbed), kind, "1"], check=True)
    _kill_and_resume(tmp_path / "killed", kind, kills=4, seconds=0.8)
    want = (undisturbed / "events.jsonl").read_bytes()
    assert (tmp_path / "killed" / "events.jsonl").read_bytes() == want
    steps = {e.payload["segment"]["start"] for e in read(undisturbed / "events.jsonl").events
             if e.type == "finished"}  # fmt: skip
    assert steps - {0}, "no trial was ever resumed"


def test_a_journal_of_another_study_is_refused(process: ModuleType, tmp_path: Path) -> None:
    process.main(tmp_path / "a", "synthetic", 1)
    manifest = (tmp_path / "a" / "manifest.json").read_text(encoding="utf-8")
    (tmp_path / "a" / "manifest.json").write_text(
        manifest.replace('"signature": "sig"', '"signature": "other"'), encoding="utf-8"
    )
    with pytest.raises(JournalError, match="differ in signature"):
        process.main(tmp_path / "a", "synthetic", 1)


def test_a_budget_below_one_segment_is_refused() -> None:
    problem = Synthetic()
    with pytest.raises(BudgetError, match="the cost of the shortest segment"):
        Machine(load_strategy("random"), problem.problem("0.001x"), problem.ledger(), 0)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_spending_stays_within_the_budget(workers: int) -> None:
    problem = Synthetic()
    told = problem.problem("5x", workers=workers)
    machine = Machine(load_strategy("random"), told, problem.ledger(), 1)
    most = 0
    while not machine.over:
        while (event := machine.poll()) is not None:
            machine.apply(event)
        most = max(most, len(machine.in_flight))
        if (segment := machine.awaited) is not None:
            machine.apply(machine.finish(problem.run(segment)))
    assert most == workers
    assert machine.spent <= 5 * 1.02
    assert machine.spent > 4


def test_folder_names_are_safe(tmp_path: Path) -> None:
    from jobs_bench.cli.studies import study_path

    path = study_path(tmp_path, "../../etc?x=1", "a/b", "bo?beta=2&x=../..", 3)
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert len(path.relative_to(tmp_path).parts) == 3
    assert not StudyFolder(path).exists()
