"""Real workers from a real template do what workers that are started by themselves do."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from jobs_bench.budget import Budget
from jobs_bench.cli.compose import Bench, BenchSpec, fork_hindrance
from jobs_bench.errors import WorkerError
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.local import LocalExecutor, WorkerPool
from jobs_bench.runner.machine import Machine
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.runner.study import Study
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import Event
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.trial import Segment

TASK = "pocket_word2?n_visible=4&n_hidden=4&batch_size=2"
PYTHON = (sys.executable, "-P", "-m")


@contextmanager
def _pool(folder: Path, task: str, forked: bool, threads: int = 1) -> Iterator[WorkerPool]:
    template = [*PYTHON, "jobs_bench.cli.template"] if forked else None
    command = [*PYTHON, "jobs_bench.cli.worker"]
    hello = {"bench": BenchSpec(task).to_json(), "threads": threads, "pack": 1}
    pool = WorkerPool(command, hello, 2, folder / "logs", template=template)
    try:
        yield pool
    finally:
        pool.close()


def _study(bench: Bench, pool: WorkerPool, root: Path, after: Callable[[int], None]) -> bytes:
    """Run a study; `after` hears how many segments have ended. Return its journal."""
    folder = StudyFolder(root)
    signature, steps = bench.task.signature(), bench.task.fidelity().steps
    flop = bench.full_run_flop()
    manifest = Manifest(
        TASK, "hyperband?eta=2", "pocket", 3, "2x", 2, (1,), signature, "s", True, steps, flop
    )
    folder.create(manifest, {})
    ended = 0

    def watch(event: Event, machine: Machine) -> None:
        nonlocal ended
        if event.type == "finished":
            ended += 1
            after(ended)

    study = Study(
        folder=folder,
        strategy=load_strategy(manifest.strategy),
        problem=bench.problem(Budget.parse("2x"), 2),
        executor=LocalExecutor(pool, folder.checkpoints),
        oracle_cache=OracleCache(root / "oracle", signature),
        default=bench.task.references().default,
        watch=watch,
    )
    assert study.run()
    return folder.events.read_bytes()


def _children(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(child) for child in told.split()]


@pytest.mark.slow
def test_a_study_is_the_same_to_the_byte_whatever_dies(tmp_path: Path) -> None:
    bench = Bench(BenchSpec(TASK))
    with _pool(tmp_path / "alone", TASK, forked=False) as pool:
        want = _study(bench, pool, tmp_path / "alone" / "study", lambda _: None)
    assert want.count(b'"finished"') > 6
    killed: list[int] = []
    with _pool(tmp_path / "forked", TASK, forked=True) as pool:

        def kill(ended: int) -> None:
            template = pool.template
            workers = [] if template is None else _children(template)
            victims = {2: workers, 5: [] if template is None else [template]}
            for pid in victims.get(ended, ()):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        got = _study(bench, pool, tmp_path / "forked" / "study", kill)
    assert len(killed) >= 2, "a worker and the template"
    assert got == want


@pytest.mark.slow
def test_threads_work_after_the_fork(tmp_path: Path) -> None:
    bench = Bench(BenchSpec(TASK))
    until = bench.task.fidelity().lo
    segment = Segment(0, bench.task.references().default, 0, until, seed=1)
    with _pool(tmp_path, TASK, forked=True, threads=2) as pool:
        executor = LocalExecutor(pool, tmp_path / "work")
        executor.launch([segment])
        outcome = executor.wait(segment)
        assert outcome.status == "ok", outcome.error
        assert pool.template is not None
        (worker,) = _children(pool.template)
        assert len(list(Path(f"/proc/{worker}/task").iterdir())) >= 2
        assert len(list(Path(f"/proc/{pool.template}/task").iterdir())) == 1


def _told(folder: Path, task: str, forked: bool) -> str:
    with _pool(folder, task, forked) as pool:
        executor = LocalExecutor(pool, folder / "work")
        segment = Segment(0, Configuration(), 0, 8, 0)
        executor.launch([segment])
        with pytest.raises(WorkerError) as caught:
            executor.wait(segment)
    return str(caught.value)


@pytest.mark.slow
def test_a_task_that_cannot_be_set_up_is_told_in_the_same_words(tmp_path: Path) -> None:
    want = _told(tmp_path / "alone", "pocket_wrd2", forked=False)
    assert want.startswith("a worker could not start: no task named 'pocket_wrd2'")
    assert _told(tmp_path / "forked", "pocket_wrd2", forked=True) == want


def test_workers_are_forked_where_that_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.cuda.is_available()
    assert (fork_hindrance() == "") == (sys.platform == "linux" and not cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "CUDA" in fork_hindrance()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "darwin" in fork_hindrance()
