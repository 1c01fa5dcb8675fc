"""One ask of `bo`, both engines at the same evidence: nine domains and the lora preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from jobs_bench.runner.machine import Machine
from jobs_bench.space.presets import lora_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.strategy.contract import AskContext
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._engine import EngineName
from jobs_bench_strategies.bo import Bo
from jobs_bench_strategies.random import Random

Race = Callable[..., None]

SPACE = lora_space(Simplex("mixture", tuple(f"d{i}" for i in range(9))), n_layers=24)


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
def test_ask(race: Race, n: int) -> None:
    def asks(engine: EngineName) -> Callable[[], Sequence[Proposal]]:
        strategy, ctx = standing(engine, n)

        def ask() -> Sequence[Proposal]:
            strategy._fitted = None  # as after a tell: fit and search
            return strategy.ask(1, ctx)

        (proposal,) = ask()
        assert isinstance(proposal, Start)
        return ask

    what = f"ask of bo, {n} trials, against engine=botorch"
    race(asks("native"), asks("botorch"), what, rounds=5)
