"""A bench's worker: simulates one study a line of standard input, answers with one line."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs_bench.budget import Budget, Ledger
from jobs_bench.cli.compose import Bench, BenchSpec, check_needs
from jobs_bench.cli.provenance import versions
from jobs_bench.errors import CapabilityError, InputError, OptionError
from jobs_bench.registry.catalogue import STRATEGIES, TASKS
from jobs_bench.registry.loading import distribution_of, strategy_factory
from jobs_bench.registry.spec import Spec
from jobs_bench.runner.bench import NOT_APPLICABLE, StudyOrder
from jobs_bench.runner.lifeline import die_with_parent
from jobs_bench.runner.simulator import Overhead, Simulated, simulate
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem, Strategy
from jobs_bench.table.task import TableTask
from jobs_bench.trial import Value

INSTANT = frozenset({"table", "synthetic"})
"""Tags of tasks that answer at once."""
UNKNOWN = Value(math.nan, math.nan, 0)


class Site:
    """A task that can be simulated, with its oracle scores so far.

    Raises:
        InputError: The task is unknown, or trains models.
    """

    def __init__(self, task: str, workdir: Path) -> None:
        self.bench = Bench(BenchSpec(task))
        made = self.bench.task
        if not INSTANT & set(made.info.tags):
            raise OptionError(
                f"{task} trains models; `bench` simulates tasks that answer at once, such as "
                "recorded tables (table?name=...); use `run` for live studies"
            )
        self.evaluator = self.bench.evaluator(workdir)
        self.flop = self.bench.full_run_flop()
        self.unit_s = made.full_run_s if isinstance(made, TableTask) else 1.0
        self.signature = made.signature()
        self._problem = lru_cache(maxsize=64)(self._make)
        self._oracle: dict[Configuration, Value] = {}

    def problem(self, order: StudyOrder) -> Problem:
        """Return what strategies are told."""
        return self._problem(order.budget, order.workers)

    def oracle(self, config: Configuration) -> Value:
        """Return the oracle score, NaN where the table cannot tell."""
        if config not in self._oracle:
            complete = self.bench.task.space().complete(config)
            outcome = self.evaluator.oracle(complete, [0])[0]
            point = outcome.final
            self._oracle[config] = UNKNOWN if point is None else point.score
        return self._oracle[config]

    def _make(self, budget: float, workers: int) -> Problem:
        return self.bench.problem(Budget(budget, "x"), workers)


class Simulator:
    """Simulates studies; tasks and strategy makers are kept from one to the next."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._site = lru_cache(maxsize=None)(lambda task: Site(task, workdir))
        self._factory = lru_cache(maxsize=None)(strategy_factory)
        self._versions = lru_cache(maxsize=None)(_versions)

    def run(self, order: StudyOrder) -> dict[str, Any]:
        """Return the study's row and its trace, in JSON.

        Raises:
            InputError: The task or the strategy cannot be had.
        """
        site: Site = self._site(order.task)
        make: Callable[[], Strategy] = self._factory(order.strategy)
        strategy, problem = make(), site.problem(order)
        row: dict[str, Any] = {
            "study_id": order.study_id,
            "task": order.task,
            "task_signature": site.signature,
            "strategy": order.strategy,
            "label": order.label,
            "seed": order.seed,
            "workers": order.workers,
            "budget": order.budget,
        }
        try:
            check_needs(strategy, problem)
            got = simulate(
                strategy,
                problem,
                Ledger(site.flop),
                order.seed,
                lambda segment: site.evaluator.run([segment])[0],
                Overhead.parse(order.overhead),
                site.unit_s,
            )
        except CapabilityError as err:  # nobody's fault: the two do not go together
            unable = _without_result(NOT_APPLICABLE, str(err))
            return {"study": {**row, **unable, **self._ran(order)}, "trace": []}
        except Exception as err:  # a strategy's fault is a row, not the bench's end
            failed = _without_result("failed", f"{type(err).__name__}: {err}")
            traceback.print_exc()
            return {"study": {**row, **failed, **self._ran(order)}, "trace": []}
        return {
            "study": {**row, **_ended(site, got), **self._ran(order)},
            "trace": [
                [p.spent, p.time_s, _plain(site.oracle(p.config).mean), _json(p.config)]
                for p in got.trace
            ],
        }

    def _ran(self, order: StudyOrder) -> dict[str, str]:
        return {"versions": self._versions(order.task, order.strategy)}


def _json(config: Configuration) -> str:
    return json.dumps(config.to_json(), sort_keys=True)


def _ended(site: Site, got: Simulated) -> dict[str, Any]:
    told = got.recommendation
    oracle = site.oracle(told.config)
    known = math.isfinite(oracle.mean)
    reason = got.ended if known else "the table cannot tell the oracle score of the recommendation"
    return {
        "status": "ok" if known else "no oracle",
        "reason": reason,
        "recommended": _json(told.config),
        "believed": told.score,
        "believed_low": told.low,
        "believed_high": told.high,
        "oracle": _plain(oracle.mean),
        "oracle_se": _plain(oracle.se),
        "n_trials": got.n_trials,
        "n_full": got.n_full,
        "cost_train": got.spent.get("train", 0.0),
        "cost_eval": got.spent.get("eval", 0.0),
        "cost_proxy": got.spent.get("proxy", 0.0),
        "overhead_s": got.overhead_s,
        "virtual_s": got.virtual_s,
    }


def _without_result(status: str, reason: str) -> dict[str, Any]:
    return {
        "status": status,
        "reason": reason[:2000],
        "recommended": "",
        "believed": None,
        "believed_low": None,
        "believed_high": None,
        "oracle": None,
        "oracle_se": None,
        "n_trials": 0,
        "n_full": 0,
        "cost_train": 0.0,
        "cost_eval": 0.0,
        "cost_proxy": 0.0,
        "overhead_s": 0.0,
        "virtual_s": 0.0,
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _versions(task: str, strategy: str) -> str:
    brought = {
        "task": distribution_of(TASKS, task),
        "strategy": distribution_of(STRATEGIES, strategy),
    }
    inner = Spec.parse(strategy).options.get("base")
    if inner is not None:
        brought["base"] = distribution_of(STRATEGIES, inner)
    return json.dumps({**versions(), **brought}, sort_keys=True)


def main() -> int:
    """Serve until standard input ends."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # standard output belongs to the protocol
    sys.stdout = sys.stderr
    with tempfile.TemporaryDirectory() as scratch:
        simulator = Simulator(Path(scratch))
        for line in sys.stdin:
            try:
                answer = simulator.run(StudyOrder(**json.loads(line)))
            except InputError as err:
                answer = {"error": str(err)}
            out.write(json.dumps(answer) + "\n")
            out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
