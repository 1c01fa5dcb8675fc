"""Hyperband's and ASHA's arithmetic against the papers and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.fidelity import Fidelity
from jobs_bench.runner.machine import Machine
from jobs_bench.strategy.contract import AskContext
from jobs_bench.strategy.history import History
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench.trial import Outcome, Point, Resume, Segment, Start, Value
from jobs_bench_strategies.rungs._core import Rung, bracket, judge
from jobs_bench_strategies.rungs.asha import Asha
from jobs_bench_strategies.rungs.hyperband import Hyperband

STEPS = (1, 3, 9, 27, 81)


def _history(scores: dict[int, list[float]], failed: tuple[int, ...] = ()) -> History:
    """Return trials with scores at the first steps; a failed one fails on its last segment."""
    history = History()
    for trial_id, values in scores.items():
        config = small_space().sample(np.random.default_rng(trial_id))
        start = 0
        for step, score in zip(STEPS, values, strict=False):
            segment = Segment(trial_id, config, start, step, 0)
            history.open(segment, {"bracket": 0, "rung": STEPS.index(step)})
            last = trial_id in failed and step == STEPS[len(values) - 1]
            points = () if last else (Point(step, Value(score)),)
            history.close(Outcome(segment, "diverged" if last else "ok", points, ()))
            start = step
    return history


def _context(history: History, remaining: float = 100.0) -> AskContext:
    return AskContext(np.random.default_rng(0), 0, 0.0, (), history, remaining)


@pytest.mark.parametrize(
    ("s", "sizes"),
    [(4, [81, 27, 9, 3, 1]), (3, [27, 9, 3, 1]), (2, [9, 3, 1]), (1, [6, 2]), (0, [5])],
)
def test_the_paper_s_table(s: int, sizes: list[int]) -> None:
    # Li et al. 2018, table 1: R = 81, eta = 3
    rungs = bracket(STEPS, 3, s)
    assert [r.n for r in rungs] == sizes
    assert [r.step for r in rungs] == list(STEPS[4 - s :])


def test_no_bracket_costs_more_than_its_share() -> None:
    for eta in (2.0, 2.5, 3.0, 4.0):
        steps = Fidelity(tuple(range(1, 101))).rungs(eta)
        for s in range(len(steps)):
            cost = sum(r.n * r.step for r in bracket(steps, eta, s))
            # the allowed steps are whole numbers: their ratio is eta only about
            assert cost <= 1.5 * len(steps) * steps[-1]


def test_promotes_the_best_and_drops_the_rest() -> None:
    rungs = (Rung(3, 1), Rung(1, 3))
    trials = list(_history({0: [0.1], 1: [0.3], 2: [0.2]}))
    verdict = judge(rungs, trials, closed=False)
    assert [(t.trial_id, until) for t, until, _ in verdict.promote] == [(1, 3)]
    assert {t.trial_id for t in verdict.drop} == {0, 2}


def test_a_failed_trial_is_the_worst() -> None:
    rungs = (Rung(3, 1), Rung(2, 3))
    trials = list(_history({0: [0.1], 1: [9.0], 2: [0.2]}, failed=(1,)))
    verdict = judge(rungs, trials, closed=False)
    assert [t.trial_id for t, _, _ in verdict.promote] == [2, 0]


def test_a_trial_that_fails_later_keeps_its_place() -> None:
    rungs = (Rung(3, 1), Rung(1, 3), Rung(1, 9))
    history = _history({0: [0.1], 1: [0.3, 0.0], 2: [0.2]}, failed=(1,))
    assert not judge(rungs, list(history), closed=False).promote


def test_nan_is_never_promoted() -> None:
    rungs = (Rung(2, 1), Rung(1, 3))
    trials = list(_history({0: [float("nan")], 1: [-5.0]}))
    assert [t.trial_id for t, _, _ in judge(rungs, trials, closed=False).promote] == [1]


def test_asha_promotions_by_hand() -> None:
    asha = Asha(eta=3)
    asha.setup(Synthetic().problem("100x"))
    # two trials: a third of them is none
    (start,) = asha.ask(1, _context(_history({0: [0.1], 1: [0.3]})))
    assert isinstance(start, Start)
    assert start.until == 1
    # three: the best goes on
    history = _history({0: [0.1], 1: [0.3], 2: [0.2]})
    (resume,) = asha.ask(1, _context(history))
    assert isinstance(resume, Resume)
    assert (resume.trial_id, resume.until) == (1, 3)
    # three on the second rung: its best goes first
    scores = {i: [0.1 * i, 0.2 * i] if i > 5 else [0.1 * i] for i in range(9)}
    (resume,) = asha.ask(1, _context(_history(scores)))
    assert isinstance(resume, Resume)
    assert (resume.trial_id, resume.until) == (8, 9)


def test_asha_counts_failures_into_the_rung() -> None:
    asha = Asha(eta=3)
    asha.setup(Synthetic().problem("100x"))
    history = _history({0: [0.1], 1: [0.3], 2: [0.2]}, failed=(2,))
    (resume,) = asha.ask(1, _context(history))
    assert isinstance(resume, Resume)
    assert resume.trial_id == 1


def test_hyperband_never_trains_a_step_twice_and_retires_losers() -> None:
    task = Synthetic(fidelity=Fidelity(STEPS), noise=0.0)
    machine = Machine(Hyperband(), task.problem("6x"), task.ledger(), 0)
    while not machine.over:
        event = machine.poll()
        if event is None:
            assert machine.awaited is not None
            event = machine.finish(task.run(machine.awaited))
        machine.apply(event)
    first = [t for t in machine.history if t.notes[0]["bracket"] == 0]
    assert sorted(t.step for t in first) == [1] * 54 + [3] * 18 + [9] * 6 + [27] * 2 + [81]
    assert sum(t.retired for t in first) == 80
    spent = sum(t.step for t in machine.history) / 81
    assert machine.spent == pytest.approx(spent, rel=0.2)  # ranks differ in cost by a fifth


@pytest.mark.parametrize("make", [Hyperband, Asha])
@pytest.mark.parametrize("eta", [1.0, 0.5, float("nan")])
def test_refuses_a_bad_eta(make: type[Hyperband] | type[Asha], eta: float) -> None:
    with pytest.raises(OptionError, match="above 1"):
        make(eta=eta)


@pytest.mark.parametrize("make", [Hyperband, Asha])
def test_needs_resuming(make: type[Hyperband] | type[Asha]) -> None:
    with pytest.raises(CapabilityError, match="resume"):
        make().setup(Synthetic().problem(capabilities=("curves",)))


def test_refuses_a_rung_that_is_not() -> None:
    with pytest.raises(OptionError, match="min_rung=9"):
        Asha(min_rung=9).setup(Synthetic().problem())
