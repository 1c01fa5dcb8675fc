"""The pool of worker processes, on fake workers, each started by itself or from a template."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.errors import JobsBenchError, StorageError, WorkerError
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.executor import OracleRequest
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.runner.study import Study
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import read
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Segment

Pool = Any  # conftest's
Within = Callable[[float, Callable[[], bool]], None]

SEGMENT = Segment(4, Configuration({"r": 2}), 0, 8, 99)


def test_outcomes_come_back(pool: Pool) -> None:
    executor = pool(slots=2)
    others = [Segment(i, Configuration({"r": i}), 0, 8, i) for i in range(6)]
    executor.launch(others)
    for segment in reversed(others):
        outcome = executor.wait(segment)
        assert outcome.segment == segment
        assert outcome.status == "ok"
        assert outcome.charges[0].s == 0.5
    assert len(pool.workers) <= 2


def test_the_oracle_and_discards_go_through_too(pool: Pool, within: Within) -> None:
    executor = pool()
    requests = [OracleRequest(Configuration({"r": 3}), 5), OracleRequest(None, 0)]
    outcomes = executor.oracle(requests)
    assert [o.segment.seed for o in outcomes] == [5, 0]
    assert [o.segment.config for o in outcomes] == [Configuration({"r": 3}), Configuration()]
    executor.discard(3)
    within(10, lambda: pool.lines("runs") == ["oracle", "oracle", "discard"])


SEVERAL = [Segment(i, Configuration({"r": i}), 0, 8, i) for i in range(5)]


def test_a_worker_gets_as_many_segments_as_it_can_pack(pool: Pool) -> None:
    executor = pool(pack=3)
    executor.launch(SEVERAL)
    assert [executor.wait(s).segment for s in SEVERAL] == SEVERAL
    assert pool.lines("runs") == ["batch3", "batch2"]
    requests = [OracleRequest(Configuration({"r": r}), s) for r, s in ((3, 5), (3, 6), (4, 5))]
    outcomes = executor.oracle(requests)
    assert [(o.segment.config, o.segment.seed) for o in outcomes] == [
        (r.config, r.seed) for r in requests
    ]
    assert pool.lines("runs")[2:] == ["batch2", "oracle"], "one configuration at a time"


def test_several_workers_share_what_there_is(pool: Pool) -> None:
    executor = pool(pack=8, slots=2)
    executor.launch(SEVERAL[:4])
    assert [executor.wait(s).segment for s in SEVERAL[:4]] == SEVERAL[:4]
    assert pool.lines("runs") == ["batch2", "batch2"]


@pytest.mark.parametrize("how", ["kill", "exit", "nonsense", "no outcome"])
def test_segments_whose_worker_died_of_them_are_run_each_by_itself(pool: Pool, how: str) -> None:
    executor = pool(how, faults=3, pack=8)
    executor.launch(SEVERAL)
    outcomes = [executor.wait(s) for s in SEVERAL]
    assert [o.status for o in outcomes] == ["crashed", "ok", "ok", "ok", "ok"]
    assert [o.segment for o in outcomes] == SEVERAL
    assert pool.lines("runs") == ["batch5"] + ["run"] * 6


def test_segments_over_their_time_together_are_run_each_by_itself(pool: Pool) -> None:
    executor = pool("hang", faults=1, timeout_s=0.3, pack=2)
    executor.launch(SEVERAL[:2])
    assert [executor.wait(s).status for s in SEVERAL[:2]] == ["ok", "ok"]
    assert pool.lines("runs") == ["batch2", "run", "run"]


def test_a_full_disk_stops_all_segments_of_a_pack(pool: Pool) -> None:
    executor = pool("full", faults=1, pack=2)
    executor.launch(SEVERAL[:2])
    for segment in SEVERAL[:2]:
        with pytest.raises(StorageError, match="full"):
            executor.wait(segment)


@pytest.mark.parametrize("how", ["kill", "exit", "nonsense", "a list", "no outcome"])
def test_a_segment_whose_worker_died_once_is_run_again(pool: Pool, how: str) -> None:
    executor = pool(how, faults=1)
    executor.launch([SEGMENT])
    assert executor.wait(SEGMENT).status == "ok"
    assert len(pool.workers) == 2, "the second attempt has a fresh process"
    executor.launch([SEGMENT])
    assert executor.wait(SEGMENT).status == "ok"
    assert len(pool.workers) == 2, "and that one stays"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("kill", "killed by SIGKILL (out of memory?); it said: the end is near"),
        ("exit", "exit status 3; it said: the end is near"),
        ("exit with words", "exit status 1; it said: the end is near\nthat is all"),
        ("raise", "RuntimeError: a bug"),
        ("no outcome", "it answered b'{}'"),
    ],
)
def test_a_segment_whose_worker_died_twice_has_crashed(pool: Pool, how: str, words: str) -> None:
    executor = pool(how, faults=2)
    executor.launch([SEGMENT])
    outcome = executor.wait(SEGMENT)
    assert outcome.status == "crashed"
    assert outcome.segment == SEGMENT
    assert words in outcome.error
    other = Segment(5, Configuration(), 0, 8, 1)
    executor.launch([other])
    assert executor.wait(other).status == "ok", "the slot goes on"


def test_a_segment_over_its_time_is_told_so(pool: Pool) -> None:
    executor = pool("hang", faults=1, timeout_s=0.5)
    executor.launch([SEGMENT])
    outcome = executor.wait(SEGMENT)
    assert outcome.status == "timeout"
    assert len(pool.lines("runs")) == 1, "it is not tried again"
    executor.launch([SEGMENT])
    assert executor.wait(SEGMENT).status == "ok"


def test_a_full_disk_stops_the_study(pool: Pool) -> None:
    executor = pool("full", faults=1)
    executor.launch([SEGMENT])
    with pytest.raises(StorageError, match="full"):
        executor.wait(SEGMENT)


def test_another_error_is_not_told_as_a_full_disk(pool: Pool) -> None:
    executor = pool("other", faults=1)
    executor.launch([SEGMENT])
    with pytest.raises(WorkerError, match="no model"):
        executor.wait(SEGMENT)


@pytest.mark.parametrize(
    ("how", "command", "words"),
    [
        ("refuse", None, "no model here"),
        ("", [sys.executable, "-S", "-c", "import sys; sys.exit('broken')"], "broken"),
        ("", ["/no/such/program"], "/no/such/program"),
    ],
)
def test_a_worker_that_cannot_start_is_an_error(
    pool: Pool, how: str, command: list[str] | None, words: str
) -> None:
    executor = pool(how, command=command)
    executor.launch([SEGMENT])
    with pytest.raises(WorkerError, match=words):
        executor.wait(SEGMENT)
    assert not set(pool.alive()) & set(pool.workers)


@pytest.mark.parametrize("how", ["hang", "slow start"])
def test_closing_ends_busy_workers_at_once(pool: Pool, how: str, within: Within) -> None:
    executor = pool(how, faults=9, slots=2)
    executor.launch([SEGMENT, Segment(5, Configuration(), 0, 8, 1)])
    within(10, lambda: len(pool.workers) == 2)
    started = time.monotonic()
    executor.close()
    pool.close()
    assert time.monotonic() - started < 3
    within(3, lambda: not pool.alive())
    assert not any(t.name.startswith("worker") and t.is_alive() for t in threading.enumerate())


def test_closing_while_a_worker_starts_leaves_nothing(pool: Pool, within: Within) -> None:
    for _ in range(5):
        executor = pool(slots=2)
        executor.launch([Segment(i, Configuration(), 0, 8, 1) for i in range(2)])
        pool.close()
    within(5, lambda: not pool.alive())


def test_workers_get_the_environment(pool: Pool) -> None:
    code = "import os, sys; sys.exit('got ' + os.environ['JOBS_BENCH_PROBE'])"
    command = [sys.executable, "-S", "-c", code]
    executor = pool(command=command, env={**os.environ, "JOBS_BENCH_PROBE": "42"})
    executor.launch([SEGMENT])
    with pytest.raises(JobsBenchError, match="got 42"):
        executor.wait(SEGMENT)


def test_a_study_whose_workers_always_die_stops_and_can_be_resumed(
    pool: Pool, tmp_path: Path
) -> None:
    task = Synthetic()
    told = task.problem("4x")
    folder = StudyFolder(tmp_path / "study")
    flop = task.ledger().full_run_flop
    steps = task.fidelity.steps
    folder.create(
        Manifest("t", "random", None, 3, "4x", 1, (1,), "sig", "score", True, steps, flop), {}
    )
    for run in (1, 2):
        study = Study(
            folder=folder,
            strategy=load_strategy("random"),
            problem=told,
            executor=pool("exit", faults=1 << 30),
            oracle_cache=OracleCache(tmp_path / "oracle", "sig"),
            default=told.default,
        )
        with pytest.raises(WorkerError, match=r"10 segments in a row failed .*exit status 3"):
            study.run()
        events = read(folder.events).events
        assert sum(e.type == "finished" for e in events) == 10 * run
        assert not any(e.type == "ended" for e in events)
