"""Simulated studies: the live state machine under a virtual clock."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.budget import Ledger
from jobs_bench.errors import BudgetError, OptionError
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.machine import Machine
from jobs_bench.runner.simulator import Overhead, Simulated, simulate
from jobs_bench.testing.synthetic import FULL_RUN_FLOP, Synthetic
from jobs_bench.trial import Outcome, Segment

SYNTHETIC = Synthetic()


def _study(
    strategy: str = "random",
    *,
    seed: int = 0,
    workers: int = 1,
    overhead: str = "free",
    budget: str = "8x",
    synthetic: Synthetic = SYNTHETIC,
) -> Simulated:
    return simulate(
        load_strategy(strategy),
        synthetic.problem(budget, workers),
        Ledger(FULL_RUN_FLOP),
        seed,
        synthetic.run,
        Overhead.parse(overhead),
        unit_s=60.0,
    )


@pytest.mark.parametrize("strategy", ["random", "hyperband", "asha"])
@pytest.mark.parametrize("workers", [1, 3])
def test_it_is_the_study_that_the_machine_would_run(strategy: str, workers: int) -> None:
    problem = SYNTHETIC.problem("8x", workers)
    machine = Machine(load_strategy(strategy), problem, Ledger(FULL_RUN_FLOP), 4)
    while not machine.over:
        event = machine.poll()
        awaited = machine.awaited
        if event is None:
            assert awaited is not None
            event = machine.finish(SYNTHETIC.run(awaited))
        machine.apply(event)
    got = _study(strategy, seed=4, workers=workers)
    assert got.recommendation == machine.recommendation
    assert got.trace[-1].spent == machine.spent
    assert got.virtual_s == machine.now * 60
    assert got.n_trials == len(machine.history)
    assert got.ended == machine.ended


@given(st.integers(0, 2**31), st.sampled_from(["random", "hyperband"]), st.integers(1, 4))
def test_traces_are_step_functions_from_nothing_spent_to_the_end(
    seed: int, strategy: str, workers: int
) -> None:
    got = _study(strategy, seed=seed, workers=workers)
    spent = [p.spent for p in got.trace]
    times = [p.time_s for p in got.trace]
    assert spent[0] == times[0] == 0
    assert spent == sorted(spent)
    assert times == sorted(times)
    assert spent[-1] <= 8 + 0.01
    assert all(a.config != b.config for a, b in itertools.pairwise(got.trace[:-1]))
    assert got.trace[-1].config == got.recommendation.config


def test_workers_run_at_the_same_time() -> None:
    alone, crew = _study(workers=1), _study(workers=4)
    assert crew.virtual_s < alone.virtual_s / 3
    assert crew.n_trials == pytest.approx(alone.n_trials, abs=1)


def test_a_fixed_overhead_delays_and_costs_nothing() -> None:
    free, slow = _study(), _study(overhead="fixed:30")
    asks = free.n_trials
    assert slow.virtual_s == pytest.approx(free.virtual_s + 30 * asks, rel=1e-6)
    assert slow.recommendation == free.recommendation
    assert slow.trace[-1].spent == free.trace[-1].spent


def test_a_measured_overhead_is_on_the_clock() -> None:
    free, measured = _study(), _study(overhead="measured")
    assert free.virtual_s < measured.virtual_s <= free.virtual_s + measured.overhead_s + 1e-6
    assert free.overhead_s > 0


@pytest.mark.parametrize("text", ["", "fixed", "fixed:-1", "fixed:nan", "free:3", "slow"])
def test_another_overhead_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="wanted free, measured or fixed:SECONDS"):
        Overhead.parse(text)


@pytest.mark.parametrize("text", ["free", "measured", "fixed:2.5"])
def test_an_overhead_comes_back_from_its_text(text: str) -> None:
    assert str(Overhead.parse(text)) == text


def test_failures_that_cost_nothing_do_not_go_on_for_ever() -> None:
    def broken(segment: Segment) -> Outcome:
        return Outcome(segment, "crashed", (), (), "no such thing")

    with pytest.raises(BudgetError, match="100 segments in a row failed at no cost: no such thing"):
        simulate(
            load_strategy("random"), SYNTHETIC.problem("1000x"), Ledger(FULL_RUN_FLOP), 0, broken
        )


def test_failed_trials_are_counted() -> None:
    got = _study(synthetic=Synthetic(fail_share=0.5), budget="20x")
    assert 0 < got.n_failed < got.n_trials
    assert got.n_full == got.n_trials - got.n_failed


def test_what_was_spent_is_told_by_category() -> None:
    got = _study()
    assert sum(got.spent.values()) == pytest.approx(got.trace[-1].spent)
