"""Whole studies of synthetic problems, driven by the runner's state machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs_bench.runner.machine import Machine
from jobs_bench.strategy.contract import Strategy
from jobs_bench.testing.synthetic import Synthetic

Study = Callable[..., Machine]


@pytest.fixture
def study() -> Study:
    """Return a function that runs a strategy to the end of its budget."""

    def run(
        strategy: Strategy, task: Synthetic, budget: str = "8x", workers: int = 1, seed: int = 0
    ) -> Machine:
        machine = Machine(strategy, task.problem(budget, workers), task.ledger(), seed)
        while not machine.over:
            event = machine.poll()
            if event is None:
                assert machine.awaited is not None
                event = machine.finish(task.run(machine.awaited))
            machine.apply(event)
        return machine

    return run
