"""Every installed strategy: time per ask as trials accumulate, studies a second, and quality.

A strategy of another distribution is in by being installed. ``jobs-bench leaderboard
from-benchmarks`` makes the leaderboard of what ``--benchmark-json`` writes here. Wrappers, which
want a strategy to wrap, are given random search. ``JOBS_BENCH_BENCH_SEEDS`` sets the study seeds.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.registry.catalogue import STRATEGIES, registered
from jobs_bench.registry.loading import distribution_of, strategy_factory
from jobs_bench.runner.machine import Machine
from jobs_bench.stats.normalise import Reference
from jobs_bench.strategy.contract import AskContext, Strategy
from jobs_bench.strategy.history import History
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Outcome, Segment

HISTORY = (10, 50, 200)
BUDGET = 8
SEEDS = range(int(os.environ.get("JOBS_BENCH_BENCH_SEEDS", "3")))
TASK = Synthetic()
SCALE = Reference(
    "synthetic",
    "synthetic-1",
    1,
    BUDGET,
    random_median=-0.3239053880633743,
    best_known=0.0,
    noise_floor=0.01,
)
"""0: median truth of what random search recommends after 8x, over seeds 0 to 100; 100: the truth
of the planted optimum. Measured once, by `random_median` below, and frozen."""


def spec_of(name: str) -> str:
    """Return a spec that can be made: the name, or a wrapper around random search."""
    try:
        strategy_factory(name)
    except OptionError:
        return f"{name}(random)"
    return name


@lru_cache
def told(n: int) -> tuple[Outcome, ...]:
    """Return the outcomes of `n` full runs drawn at random."""
    rng = np.random.default_rng(0)
    space, horizon = TASK.space, TASK.fidelity.horizon
    return tuple(TASK.run(Segment(i, space.sample(rng), 0, horizon, 100 + i)) for i in range(n))


def ready(spec: str, n: int) -> tuple[Strategy, AskContext]:
    """Return a fresh strategy that was told `n` full runs, and the context of its next ask."""
    strategy = strategy_factory(spec)()
    strategy.setup(TASK.problem(f"{n + 20}x"))
    history = History()
    history.extend(told(n))
    strategy.tell(told(n))
    rng = np.random.default_rng(n)
    return strategy, AskContext(rng, n, float(n), (), history, 20.0, n)


def study(spec: str, seed: int) -> Machine:
    """Return the state at the end of a study."""
    strategy = strategy_factory(spec)()
    machine = Machine(strategy, TASK.problem(f"{BUDGET}x"), TASK.ledger(), seed)
    while not machine.over:
        event = machine.poll()
        if event is None:
            assert machine.awaited is not None
            event = machine.finish(TASK.run(machine.awaited))
        machine.apply(event)
    return machine


def truth(machine: Machine) -> float:
    """Return the noise-free score of what a study recommends."""
    assert machine.recommendation is not None
    return TASK.truth(TASK.space.complete(machine.recommendation.config))


def random_median() -> float:
    """Measure the zero of the scale."""
    return float(np.median([truth(study("random", seed)) for seed in range(101)]))


@pytest.mark.parametrize("n", HISTORY)
@pytest.mark.parametrize("name", registered(STRATEGIES))
def test_ask(benchmark: BenchmarkFixture, name: str, n: int) -> None:
    spec = spec_of(name)
    benchmark.extra_info |= {"kind": "ask", "strategy": spec, "n": n, "of": _owner(name)}

    def fresh() -> tuple[tuple[Strategy, AskContext], dict[str, object]]:
        return ready(spec, n), {}

    proposals = benchmark.pedantic(
        lambda strategy, ctx: strategy.ask(1, ctx), setup=fresh, rounds=3, warmup_rounds=1
    )
    assert len(proposals) >= 1


@pytest.mark.parametrize("name", registered(STRATEGIES))
def test_study(benchmark: BenchmarkFixture, name: str) -> None:
    spec = spec_of(name)
    benchmark.extra_info |= {"kind": "study", "strategy": spec, "of": _owner(name)}
    seeds = iter(SEEDS)
    ended: list[Machine] = []

    def one() -> None:
        ended.append(study(spec, next(seeds)))

    try:
        strategy_factory(spec)().setup(TASK.problem(f"{BUDGET}x"))
    except CapabilityError as err:
        pytest.fail(f"{spec} declines the synthetic problem: {err}")
    benchmark.pedantic(one, rounds=len(SEEDS))
    scores = SCALE.normalise(np.array([truth(m) for m in ended]))
    assert np.isfinite(scores).all()
    benchmark.extra_info |= {
        "scores": [float(s) for s in scores],
        "task": "synthetic, interaction 0.5, noise 0.01",
        "budget": BUDGET,
        "spent": float(np.mean([m.spent for m in ended])),
    }


def _owner(name: str) -> str:
    return distribution_of(STRATEGIES, name)
