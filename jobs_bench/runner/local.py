"""The driver of one machine: a process for each slot, so that memory is really returned.

Workers are started with a command that the caller gives, or forked from a template that another
command starts, and speak JSON, one object a line, over their standard input and output. A worker
that dies takes its segment with it; the segment is run once more in a fresh process, then told as
``crashed``. A worker that can share passes among segments gets several at a time; where it dies of
them, each is run by itself.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs_bench.errors import JobsBenchError, StorageError, WorkerError
from jobs_bench.runner.executor import OracleRequest
from jobs_bench.runner.template import Forked, Nursery
from jobs_bench.runner.worker_process import WorkerProcess, start_alone
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import outcome_from_json, segment_to_json
from jobs_bench.trial import Outcome, Segment, Status

ATTEMPTS = 2
PACKED = ("run", "oracle")
DISCARD_S = 10.0


@dataclass(slots=True)
class _Job:
    message: dict[str, Any]
    segment: Segment
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    error: JobsBenchError | None = None

    def goes_with(self, other: _Job) -> bool:
        """Return whether a worker may get both at a time."""
        mine, theirs = self.message, other.message
        return mine["op"] in PACKED and all(
            mine.get(name) == theirs.get(name) for name in ("op", "workdir", "config", "controller")
        )


class _Queue:
    """Jobs that wait; a free worker takes its share of them, up to `pack`, that can go together."""

    def __init__(self, slots: int, pack: int) -> None:
        self._free = slots
        self._pack = pack
        self._jobs: deque[_Job] = deque()
        self._change = threading.Condition()
        self._closed = False

    def put(self, jobs: Sequence[_Job]) -> None:
        with self._change:
            self._jobs.extend(jobs)
            self._change.notify_all()

    def take(self) -> list[_Job]:
        """Wait for jobs and return some; none once the queue is closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._jobs)
            if self._closed:
                return []
            share = min(-(-len(self._jobs) // self._free), self._pack)
            self._free -= 1
            taken = [self._jobs.popleft()]
            while len(taken) < share and self._jobs[0].goes_with(taken[0]):
                taken.append(self._jobs.popleft())
            return taken

    def done(self) -> None:
        """Count the worker that took jobs among the free ones again."""
        with self._change:
            self._free += 1

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()


class WorkerPool:
    """Worker processes, shared by the studies of one run.

    Args:
        command: Starts a worker.
        hello: First message to each worker: what it needs to build its evaluator.
        slots: Processes, each started when it is first needed.
        log_dir: Folder for what workers write to standard error.
        timeout_s: Longest time for one segment, ``None``: no limit.
        env: Environment of a worker.
        pack: Segments of a study that a worker is given at a time, at most.
        template: Starts a template that workers are forked from; ``None``: each is started by
            itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        hello: Mapping[str, Any],
        slots: int,
        log_dir: Path,
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
        pack: int = 1,
        template: Sequence[str] | None = None,
    ) -> None:
        self._command = list(command)
        self._hello = dict(hello)
        self._log_dir = log_dir
        self._timeout_s = timeout_s
        self._env = None if env is None else dict(env)
        self._queue = _Queue(slots, pack)
        self._closing = False
        self._workers: list[WorkerProcess | None] = [None] * slots
        log_dir.mkdir(parents=True, exist_ok=True)
        made = None if template is None else Nursery(template, hello, log_dir, env)
        self._nursery: Nursery | None = made
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def template(self) -> int | None:
        """Return the process id of the template, ``None`` where there is none now."""
        return None if self._nursery is None else self._nursery.pid

    def submit(self, work: Sequence[tuple[Mapping[str, Any], Segment]]) -> list[_Job]:
        """Queue jobs, a message and the segment that names it in a failure each."""
        jobs = [_Job(dict(message), segment) for message, segment in work]
        self._queue.put(jobs)
        return jobs

    def close(self) -> None:
        """Kill the workers; whatever they were doing is lost."""
        self._closing = True
        for worker in list(self._workers):
            if worker is not None:
                worker.kill()
        if self._nursery is not None:
            self._nursery.close()
        self._queue.close()  # last: a template dies with the thread that started it
        for thread in self._threads:
            thread.join(timeout=5)

    def _serve(self, slot: int) -> None:
        while jobs := self._queue.take():
            left = list(jobs)
            try:
                if len(jobs) > 1 and self._attempt_all(slot, jobs):
                    left.clear()
                while left:
                    left[0].outcome = self._attempt(slot, left[0])
                    left.pop(0).done.set()
            except JobsBenchError as err:
                error: JobsBenchError = err
            except Exception as err:  # whatever it is: whoever waits must hear of it
                error = WorkerError(f"a worker could not be used: {err!r}")
            for job in left:
                job.error = error
            self._queue.done()
            for job in jobs:
                job.done.set()

    def _attempt_all(self, slot: int, jobs: Sequence[_Job]) -> bool:
        """Run jobs in one message; return whether there are outcomes."""
        worker = self._workers[slot] or self._start(slot)
        limit = None if self._timeout_s is None else self._timeout_s * len(jobs)
        answer = worker.call({"op": "batch", "of": [job.message for job in jobs]}, limit)
        _raise_told(answer)
        told = None if answer is None else answer.get("outcomes")
        if not isinstance(told, list) or len(told) != len(jobs):
            worker.kill()
            self._workers[slot] = None
            return False
        for job, outcome in zip(jobs, told, strict=True):
            job.outcome = outcome_from_json(outcome)
        return True

    def _attempt(self, slot: int, job: _Job) -> Outcome:
        status: Status = "crashed"
        why = ""
        for _ in range(ATTEMPTS):
            worker = self._workers[slot] or self._start(slot)
            answer = worker.call(job.message, self._timeout_s)
            _raise_told(answer)
            if answer is not None:
                return outcome_from_json(answer["outcome"])
            why = worker.obituary()
            status = "timeout" if worker.timed_out else "crashed"
            worker.kill()
            self._workers[slot] = None
            if worker.timed_out or self._closing:
                break
        return Outcome(job.segment, status, (), (), why)

    def _start(self, slot: int) -> WorkerProcess:
        log = self._log_dir / f"worker-{slot}.log"
        for _ in range(ATTEMPTS):
            forked = None if self._nursery is None else self._nursery.fork(log)
            process = forked or start_alone(self._command, log, self._env)
            worker = WorkerProcess(process, log)
            self._workers[slot] = worker  # from here on, `close` finds it
            try:
                if self._closing:
                    raise WorkerError("the workers are being closed")
                worker.greet(self._hello)
                return worker
            except WorkerError as err:
                worker.kill()
                self._workers[slot] = None
                failure = err
            if self._closing or not _orphaned(forked):
                break
        raise failure


def _orphaned(forked: Forked | None) -> bool:
    """Return whether a worker that has ended went with its template."""
    return forked is not None and forked.orphaned


def _raise_told(answer: Mapping[str, Any] | None) -> None:
    """Raise the error that a worker told of, if it did."""
    if answer is not None and "error" in answer:
        kind = StorageError if answer.get("storage") else WorkerError
        raise kind(str(answer["error"]))


class LocalExecutor:
    """Runs the segments of one study in the processes of a pool.

    Args:
        pool: Shared; not closed with the study.
        workdir: Folder for the study's checkpoints.
    """

    def __init__(self, pool: WorkerPool, workdir: Path) -> None:
        self._pool = pool
        self._workdir = os.fspath(workdir)
        self._jobs: dict[Segment, _Job] = {}
        self._discards: list[_Job] = []

    def launch(self, segments: Sequence[Segment]) -> None:
        """Queue segments."""
        common = {"op": "run", "workdir": self._workdir}
        work = [({**common, "segment": segment_to_json(s)}, s) for s in segments]
        self._jobs.update(zip(segments, self._pool.submit(work), strict=True))

    def wait(self, segment: Segment) -> Outcome:
        """Return the outcome of a launched segment."""
        return _result(self._jobs.pop(segment))

    def oracle(self, requests: Sequence[OracleRequest]) -> list[Outcome]:
        """Return one outcome a request, in order, run side by side."""
        work = []
        for request in requests:
            config = None if request.config is None else request.config.to_json()
            message = {"op": "oracle", "workdir": self._workdir, "seed": request.seed}
            if request.controller:
                message["controller"] = request.controller
            nothing = Segment(0, request.config or Configuration(), 0, 0, request.seed)
            work.append(({**message, "config": config}, nothing))
        return [_result(job) for job in self._pool.submit(work)]

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        message = {"op": "discard", "workdir": self._workdir, "trial": trial_id}
        work = [(message, Segment(trial_id, Configuration(), 0, 0, 0))]
        self._discards += self._pool.submit(work)

    def close(self) -> None:
        """Forget what is still running; where nothing is, see discards through."""
        if not self._jobs:
            for job in self._discards:
                job.done.wait(timeout=DISCARD_S)
        self._jobs.clear()


def _result(job: _Job) -> Outcome:
    # wait in short turns: a signal handler runs only between them
    while not job.done.wait(timeout=0.2):
        pass
    if job.error is not None:
        raise job.error
    assert job.outcome is not None  # done without an error
    return job.outcome
