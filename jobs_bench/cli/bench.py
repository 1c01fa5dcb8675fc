"""``jobs-bench bench``: the cross product of a suite and strategies, one process a core."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.cli.provenance import versions
from jobs_bench.errors import InputError, OptionError, UnknownNameError, WorkerError
from jobs_bench.registry.catalogue import SUITES, registered
from jobs_bench.registry.loading import load, strategy_factory
from jobs_bench.runner.bench import (
    NOT_APPLICABLE,
    StudyOrder,
    merge,
    open_bench,
    orders,
    results,
    write_header,
)
from jobs_bench.runner.simulator import Overhead
from jobs_bench.runner.suite import Suite, read_suite

Say = Callable[[str], None]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TALK_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to run.

    Attributes:
        suite: Name of a suite, or a YAML file.
        strategies: Strategy specs, ``label=spec`` where a label is wanted.
        seeds: How many seeds, ``None``: as the suite says.
        budgets: Full-run equivalents, empty: as the suite says.
        overhead: Policy for the strategies' own time.
        jobs: Processes.
        out: Bench folder.
        command: As it was typed.
    """

    suite: str
    strategies: tuple[str, ...]
    seeds: int | None
    budgets: tuple[float, ...]
    overhead: str
    jobs: int
    out: Path
    command: str


@dataclass(frozen=True, slots=True)
class Done:
    """What a bench came to.

    Attributes:
        studies: How many there are now.
        fresh: How many of them this call ran.
        seconds: Wall-clock seconds of this call.
        states: Studies by status.
        unable: Studies that are not applicable, by (strategy, task, reason).
    """

    studies: int
    fresh: int
    seconds: float
    states: dict[str, int]
    unable: dict[tuple[str, str, str], int] = field(default_factory=dict)


def find_suite(name: str) -> Suite:
    """Return a registered suite, or the one in a YAML file.

    Raises:
        UnknownNameError: No suite has the name.
        DataError: A file that is no suite.
    """
    if name.endswith((".yaml", ".yml")):
        return read_suite(Path(name))
    known = registered(SUITES)
    if name not in known:
        raise UnknownNameError("suite", name, known)
    return read_suite(load(SUITES, name)())


def labelled(specs: Sequence[str]) -> dict[str, str]:
    """Return strategy specs by label; without ``label=`` the spec is its own label.

    Raises:
        OptionError: A label twice.
        InputError: A spec that names no strategy, or wrong options.
    """
    found: dict[str, str] = {}
    for text in specs:
        head, equals, rest = text.partition("=")
        is_label = bool(equals) and not set("?(&") & set(head)
        label, spec = (head, rest) if is_label else (text, text)
        if label in found:
            raise OptionError(f"got the strategy {label!r} twice; wanted different labels")
        strategy_factory(spec)
        found[label] = spec
    if not found:
        raise OptionError("got no strategy; wanted at least one --strategies")
    return found


def _stated(task: str) -> dict[str, float]:
    """Return the references that a task knows by itself, such as a planted optimum."""
    known = Bench(BenchSpec(task)).task.references()
    stated = {"best_known": known.best_known, "noise_floor": known.noise_floor}
    return {name: value for name, value in stated.items() if value is not None}


def run(order: Order, say: Say) -> Done:
    """Run what is missing of a bench, then merge its tables.

    Raises:
        InputError: Parts of the order that are unknown, or another bench in the folder.
        WorkerError: A worker died.
    """
    suite = find_suite(order.suite)
    if order.seeds is not None and order.seeds < 1:
        raise OptionError(f"got {order.seeds} seeds; wanted at least 1")
    strategies = labelled(order.strategies)
    seeds = range(order.seeds or suite.seeds)
    budgets = order.budgets or suite.budgets
    overhead = str(Overhead.parse(order.overhead))
    plan = orders(suite.tasks, strategies, seeds, suite.workers, budgets, overhead)
    facts = {
        "suite": suite.to_json(),
        "plan": {
            "suite": suite.name,
            "tasks": list(suite.tasks),
            "strategies": strategies,
            "budgets": list(budgets),
            "workers": list(suite.workers),
            "seeds": len(seeds),
            "overhead": overhead,
        },
        "strategies": strategies,
        "budgets": list(budgets),
        "references": {task: stated for task in suite.tasks if (stated := _stated(task))},
        "versions": versions(),
        "command": order.command,
        "measured": ["studies.overhead_s", "seconds"]
        + (["studies.virtual_s", "trace.time_s"] if overhead == "measured" else []),
    }
    began = time.perf_counter()
    header = open_bench(order.out, facts)
    with results(order.out) as journal:
        todo = [o for o in plan if o.study_id not in journal.done]
        if todo:
            _Crew(order.jobs, todo, journal.append, say).work()
    studies, _ = merge(order.out, plan)
    seconds = time.perf_counter() - began
    states = dict(Counter(str(s) for s in studies["status"]))
    write_header(
        order.out,
        {
            **header,
            "state": "done",
            "studies": len(plan),
            "states": states,
            "seconds": round(float(header["seconds"]) + (seconds if todo else 0.0), 3),
        },
    )
    unable = studies[studies["status"] == NOT_APPLICABLE]
    pairs = Counter(zip(unable["label"], unable["task"], unable["reason"], strict=True))
    return Done(len(plan), len(todo), seconds, states, dict(pairs))


class _Crew:
    """Worker processes, one thread of ours for each; results go through one lock."""

    def __init__(
        self,
        jobs: int,
        todo: Sequence[StudyOrder],
        keep: Callable[[dict[str, Any]], None],
        say: Say,
    ) -> None:
        self._queue: queue.SimpleQueue[StudyOrder] = queue.SimpleQueue()
        for order in todo:
            self._queue.put(order)
        self._total = len(todo)
        self._jobs = min(jobs, len(todo))
        self._keep = keep
        self._say = say
        self._lock = threading.Lock()
        self._finished = 0
        self._failed = 0
        self._began = self._talked = time.perf_counter()
        self._error: Exception | None = None

    def work(self) -> None:
        """Run everything.

        Raises:
            InputError: A task or strategy cannot be had.
            WorkerError: A worker died.
        """
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _serve(self) -> None:
        """Feed one worker until nothing is left or something went wrong."""
        env = {**os.environ, **dict.fromkeys(THREADS, "1")}
        command = [sys.executable, "-P", "-m", "jobs_bench.cli.bench_worker"]
        pipe = subprocess.PIPE
        try:
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as worker:
                assert worker.stdin is not None  # both were asked for
                assert worker.stdout is not None
                while self._error is None and not self._queue.empty():
                    try:
                        order = self._queue.get_nowait()
                    except queue.Empty:
                        return
                    worker.stdin.write(json.dumps(asdict(order)) + "\n")
                    worker.stdin.flush()
                    self._take(worker.stdout.readline(), order)
        except BrokenPipeError:
            self._stop(WorkerError("a worker of the bench died; what was finished is kept"))

    def _take(self, line: str, order: StudyOrder) -> None:
        if not line:
            self._stop(
                WorkerError(
                    f"a worker died on {order.strategy} on {order.task}, seed {order.seed}; what "
                    "was finished is kept"
                )
            )
            return
        answer = json.loads(line)
        if "error" in answer:
            self._stop(InputError(answer["error"]))
            return
        with self._lock:
            self._keep(answer)
            self._finished += 1
            self._failed += answer["study"]["status"] not in ("ok", NOT_APPLICABLE)
            now = time.perf_counter()
            if now - self._talked >= TALK_S or self._finished == self._total:
                self._talked = now
                pace = self._finished / max(now - self._began, 1e-9)
                left = (self._total - self._finished) / pace
                self._say(
                    f"{self._finished} of {self._total} studies, {60 * pace:.0f} a minute, "
                    f"{left / 60:.1f} min left"
                    + (f", {self._failed} not ok" if self._failed else "")
                    + f" (now {order.label})"
                )

    def _stop(self, error: Exception) -> None:
        with self._lock:
            self._error = self._error or error
