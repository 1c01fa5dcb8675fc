"""Time of one ask of `bo`, both engines, at the same evidence: nine domains and the lora preset."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.runner.machine import Machine
from jobs_bench.space.presets import lora_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.strategy.contract import AskContext
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Start
from jobs_bench_strategies._engine import EngineName
from jobs_bench_strategies.bo import Bo
from jobs_bench_strategies.random import Random

SPACE = lora_space(Simplex("mixture", tuple(f"d{i}" for i in range(9))), n_layers=24)


def asked(engine: EngineName, n: int) -> Start:
    """Return what a fresh `bo` proposes after `n` random trials: a fit and a search."""
    strategy, ctx = standing(engine, n)
    (proposal,) = strategy.ask(1, ctx)
    assert isinstance(proposal, Start)
    return proposal


def standing(engine: EngineName, n: int) -> tuple[Bo, AskContext]:
    """Return `bo` after `n` random trials, not yet fitted, and the context of its next ask."""
    task = Synthetic(SPACE)
    machine = Machine(Random(), task.problem(f"{2 * n}x"), task.ledger(), seed=0)
    strategy = Bo(n_init=2, engine=engine)
    strategy.setup(task.problem(f"{2 * n}x"))
    while len(machine.history) < n or machine.awaited is not None:
        event = machine.poll()
        if event is None:
            assert machine.awaited is not None
            outcome = task.run(machine.awaited)
            strategy.tell([outcome])
            event = machine.finish(outcome)
        machine.apply(event)
    ctx = AskContext(np.random.default_rng(1), 1, 0.0, (), machine.history, float(n))
    return strategy, ctx


@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("engine", ["native", "botorch"])
def test_ask(benchmark: BenchmarkFixture, engine: EngineName, n: int) -> None:
    def fresh() -> tuple[tuple[Bo, AskContext], dict[str, object]]:
        return standing(engine, n), {}

    rounds = 20 if engine == "native" else 3
    proposals = benchmark.pedantic(lambda s, c: s.ask(1, c), setup=fresh, rounds=rounds)
    assert isinstance(proposals[0], Start)
