"""Simulated studies: how many a process runs in a minute on a pool of the pocket table's size.

``pytest tests/bench/test_simulator.py --benchmark-only``; `extra_info` holds studies a minute and
the seconds of CPU a study, which other work on the machine changes less.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobs_bench.budget import Budget, Ledger
from jobs_bench.fidelity import Fidelity
from jobs_bench.registry.loading import strategy_factory
from jobs_bench.runner.simulator import simulate
from jobs_bench.strategy.contract import Problem
from jobs_bench.table.task import TableTask
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench.testing.tables import synthetic_table

CONFIGS, BUDGET, DOMAINS = 342, 25.0, 9
STEPS = Fidelity((8, 16, 32, 56, 80))


@pytest.fixture(scope="module")
def task() -> TableTask:
    return TableTask(synthetic_table(CONFIGS, 2, Synthetic(small_space(DOMAINS), STEPS)))


def _problem(task: TableTask, flop: float) -> Problem:
    ledger = Ledger(flop)
    return Problem(
        space=task.space(),
        fidelity=task.fidelity(),
        budget=Budget(BUDGET, "x"),
        cost=lambda c, start, until: ledger.convert(task.cost(c, start, until), "x"),
        default=task.references().default,
        domains=task.info.domains,
        candidates=task.candidates(),
        capabilities=task.info.capabilities,
    )


@pytest.mark.parametrize("strategy", ["random", "hyperband", "asha", "jobs"])
def test_studies(benchmark: Any, task: TableTask, strategy: str) -> None:
    flop = Ledger(1.0).convert(task.cost(task.references().default, 0, 80), "flop")
    problem, make, runs = _problem(task, flop), strategy_factory(strategy), task.evaluator(None)
    seeds = iter(range(1_000_000))
    cpu: list[float] = []

    def study() -> int:
        began = time.process_time()
        seed = next(seeds)
        got = simulate(make(), problem, Ledger(flop), seed, lambda s: runs.run([s])[0])
        cpu.append(time.process_time() - began)
        return got.n_trials

    trials = benchmark(study)
    assert trials >= 25
    best = min(cpu)
    benchmark.extra_info["studies_per_minute"] = 60 / benchmark.stats.stats.min
    benchmark.extra_info["cpu_s_per_study"] = best
