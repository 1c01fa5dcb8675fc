"""Workers forked from a template: where they come from, and what is left when something dies."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.errors import WorkerError
from jobs_bench.space.configuration import Configuration
from jobs_bench.trial import Segment

Pool = Any  # conftest's
Within = Callable[[float, Callable[[], bool]], None]
SEGMENTS = [Segment(i, Configuration({"r": i}), 0, 8, i) for i in range(4)]


def _descriptors(pid: int | str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def test_two_workers_come_from_one_template(forked: Pool, within: Within) -> None:
    executor = forked("hang", faults=2, slots=2)
    executor.launch(SEGMENTS[:2])
    within(20, lambda: len(forked.lines("runs")) == 2)
    (template,) = forked.templates
    assert len(forked.workers) == 2
    for pid in forked.workers:
        assert forked.parent(pid) == template
        assert os.getsid(pid) == pid, "Ctrl-C in the terminal does not reach it"
    assert os.getsid(template) == template


def test_a_worker_that_has_died_is_reaped_and_another_one_forked(
    forked: Pool, within: Within
) -> None:
    executor = forked("kill", faults=1)
    executor.launch(SEGMENTS[:1])
    assert executor.wait(SEGMENTS[0]).status == "ok"
    first, second = forked.workers
    assert not Path(f"/proc/{first}").exists(), "no zombie"
    assert forked.parent(second) == forked.templates[0]
    assert len(forked.templates) == 1


def test_a_template_that_was_killed_is_replaced(forked: Pool, within: Within) -> None:
    executor = forked("hang", faults=2, slots=2)
    executor.launch(SEGMENTS[:2])
    within(20, lambda: len(forked.lines("runs")) == 2)
    os.kill(forked.templates[0], signal.SIGKILL)
    assert [executor.wait(s).status for s in SEGMENTS[:2]] == ["ok", "ok"]
    assert len(forked.templates) == 2
    assert len(forked.workers) == 4
    assert not set(forked.alive()) & set(forked.workers[:2])
    os.kill(forked.templates[1], signal.SIGKILL)  # while its workers have nothing to do
    within(10, lambda: not set(forked.alive()) & set(forked.workers[2:]))
    executor.launch(SEGMENTS[2:])
    assert [executor.wait(s).status for s in SEGMENTS[2:]] == ["ok", "ok"]
    assert len(forked.templates) == 3


def test_a_template_that_dies_at_once_is_an_error(forked: Pool) -> None:
    executor = forked("dies when ready")
    executor.launch(SEGMENTS[:1])
    with pytest.raises(WorkerError, match="a worker could not start: "):
        executor.wait(SEGMENTS[0])
    assert len(forked.templates) <= 4, "it is not tried for ever"


def test_an_error_of_the_template_is_told_as_a_workers(forked: Pool) -> None:
    executor = forked("no template")
    executor.launch(SEGMENTS[:1])
    with pytest.raises(WorkerError, match=r"^a worker could not start: no data$"):
        executor.wait(SEGMENTS[0])


def test_a_fork_that_fails_is_told(forked: Pool) -> None:
    executor = forked("no fork")
    executor.launch(SEGMENTS[:1])
    with pytest.raises(WorkerError, match=r"could not start: no fork: .*out of processes"):
        executor.wait(SEGMENTS[0])


def test_a_template_that_cannot_be_forked_says_so(
    forked: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "jobs_bench.runner.template")
    executor = forked("alone", slots=2)
    executor.launch(SEGMENTS)
    assert [executor.wait(s).status for s in SEGMENTS] == ["ok"] * 4
    assert caplog.messages == ["workers are started each by itself: no forks here"]
    assert [forked.parent(p) for p in forked.alive()] == [os.getpid()] * 2
    assert len(forked.templates) == 1


def test_closing_while_the_template_starts(forked: Pool, within: Within) -> None:
    executor = forked("slow template", slots=2)
    executor.launch(SEGMENTS[:2])
    within(20, lambda: len(forked.templates) == 1)
    started = time.monotonic()
    forked.close()
    assert time.monotonic() - started < 4
    assert forked.alive() == []


def test_descriptors_are_given_back(forked: Pool) -> None:
    executor = forked("kill", faults=40)
    for i in range(20):  # two workers each
        segment = Segment(i, Configuration(), 0, 8, i)
        executor.launch([segment])
        assert executor.wait(segment).status == "crashed"
        if i == 2:
            (template,) = forked.templates
            before = [_descriptors(p) for p in ("self", template)]
    after = [_descriptors(p) for p in ("self", template)]
    assert after == before
    assert len(forked.workers) == 40


def test_nothing_is_left_of_a_run_that_was_killed(
    forked: Pool, within: Within, tmp_path: Path
) -> None:
    hello = {"how": "hang", "faults": 2}
    hello |= {name: str(tmp_path / name) for name in ("pids", "runs", "templates")}
    script = Path(__file__).with_name("template_run.py")
    fake = [sys.executable, str(script.with_name("fake_worker.py")), "template"]
    run = subprocess.Popen([sys.executable, str(script), json.dumps(hello), *fake])
    within(30, lambda: len(forked.lines("runs")) == 2)
    assert len(forked.alive()) == 3
    run.kill()
    run.wait()
    within(10, lambda: forked.alive() == [])


def test_pools_end_their_threads(forked: Pool) -> None:
    before = threading.active_count()
    executor = forked(slots=3)
    executor.launch(SEGMENTS)
    assert [executor.wait(s).status for s in SEGMENTS] == ["ok"] * 4
    forked.close()
    assert threading.active_count() == before
