"""Hyperband's and ASHA's arithmetic against the papers and by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.fidelity import Fidelity
from jobs_bench.runner.machine import Machine
from jobs_bench.space.axes import Categorical, Float
from jobs_bench.space.configuration import Mixture
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import AskContext, Problem
from jobs_bench.strategy.history import History
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench.trial import Outcome, Point, Proposal, Resume, Retire, Segment, Start, Value
from jobs_bench_strategies.random import Random
from jobs_bench_strategies.rungs._core import Rung, bracket, judge
from jobs_bench_strategies.rungs._evolution import Evolution
from jobs_bench_strategies.rungs._kde import Density, Kde
from jobs_bench_strategies.rungs.asha import Asha
from jobs_bench_strategies.rungs.hyperband import Hyperband
from jobs_bench_strategies.rungs.pasha import Pasha, crossing_noise, settled_order
from jobs_bench_strategies.rungs.sh import Sh

STEPS = (1, 3, 9, 27, 81)


def _history(scores: dict[int, list[float]], failed: tuple[int, ...] = ()) -> History:
    """Return trials with scores at the first of `STEPS`; a failed one fails on its last segment."""
    return _steps_history(scores, STEPS, failed)


def _steps_history(
    scores: dict[int, list[float]], steps: tuple[int, ...], failed: tuple[int, ...] = ()
) -> History:
    history = History()
    for trial_id, values in scores.items():
        config = small_space().sample(np.random.default_rng(trial_id))
        start = 0
        for step, score in zip(steps, values, strict=False):
            segment = Segment(trial_id, config, start, step, 0)
            history.open(segment, {"bracket": 0, "rung": steps.index(step)})
            last = trial_id in failed and step == steps[len(values) - 1]
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


def test_stopping_decides_on_arrival() -> None:
    asha = Asha(eta=3, rule="stopping")
    asha.setup(Synthetic(fidelity=Fidelity(STEPS)).problem("100x"))
    # the first to arrive is the best third of one, rounded up
    (resume,) = asha.ask(1, _context(_history({0: [0.1]})))
    assert resume == Resume(0, 3, {"rung": 1})
    # the third best of four is given up, the best of four goes on
    history = _history({0: [0.4, 0.4], 1: [0.1], 2: [0.5], 3: [0.3, 0.1]})
    proposals = asha.ask(2, _context(history))
    assert {p.trial_id for p in proposals if isinstance(p, Retire)} == {1, 3}
    assert [p.trial_id for p in proposals if isinstance(p, Resume)] == [0, 2]


@pytest.mark.parametrize(
    ("scores", "in_order"),
    [
        ({0: [0.1, 0.2], 1: [0.3, 0.4]}, True),
        ({0: [0.1, 0.5], 1: [0.3, 0.4]}, False),
        ({0: [0.1, 0.5]}, True),
    ],
)
def test_order_of_the_two_highest_rungs(scores: dict[int, list[float]], in_order: bool) -> None:
    assert settled_order(STEPS[:2], list(_history(scores))) == in_order


def test_trials_that_cross_twice_are_noise() -> None:
    # 0 and 1 change places twice and end 0.02 apart; 2 stays below both
    scores = {0: [0.1, 0.3, 0.32], 1: [0.2, 0.2, 0.34], 2: [0.0, 0.0, 0.0]}
    trials = list(_history(scores))
    assert crossing_noise(STEPS[:3], trials) == pytest.approx(0.02)
    # one rung lower they were 0.1 apart: more than the noise
    assert not settled_order(STEPS[:3], trials)
    scores[0][1], scores[1][1] = 0.305, 0.3
    assert settled_order(STEPS[:3], list(_history(scores)))


def test_pasha_opens_a_rung_only_when_the_ranking_moves() -> None:
    pasha = Pasha(eta=2)
    pasha.setup(Synthetic(fidelity=Fidelity((1, 2, 4, 8))).problem("100x"))
    calm = _steps_history({0: [0.2, 0.4], 1: [0.1, 0.3], 2: [0.0], 3: [0.05]}, (1, 2, 4, 8))
    assert pasha._in_use(calm) == (1, 2)
    moved = _steps_history({0: [0.2, 0.3], 1: [0.1, 0.4], 2: [0.0], 3: [0.05]}, (1, 2, 4, 8))
    assert pasha._in_use(moved) == (1, 2, 4)
    climbed = _steps_history({0: [0.2, 0.4, 0.5], 1: [0.1, 0.3]}, (1, 2, 4, 8))
    assert pasha._in_use(climbed) == (1, 2, 4)


def test_sh_repeats_one_bracket() -> None:
    sh = Sh(eta=3)
    sh.setup(Synthetic(fidelity=Fidelity(STEPS)).problem("100x"))
    assert [r.n for r in sh.brackets[0]] == [81, 27, 9, 3, 1]
    assert len(sh.brackets) == 1
    with pytest.raises(OptionError, match="min_rung=5"):
        Sh(min_rung=5).setup(Synthetic(fidelity=Fidelity(STEPS)).problem("100x"))


def test_densities_integrate_to_one() -> None:
    encoding = NativeEncoding(Space((Float("x", 0.0, 1.0), Categorical("c", ("a", "b", "c")))))
    density = Density(encoding, np.array([[0.4, 0.0], [0.5, 1.0], [0.55, 1.0]]))
    grid = np.linspace(-2, 3, 2001)
    rows = np.array([[x, c] for c in (0.0, 1.0, 2.0) for x in grid])
    total = np.exp(density.log(rows)).sum() * (grid[1] - grid[0])
    assert total == pytest.approx(1.0, abs=1e-6)


def test_kde_draws_where_good_ones_are() -> None:
    space = Space((Float("x", 0.0, 1.0), Simplex("mixture", ("a", "b"))))
    history = History()
    for i in range(40):
        x = i / 39
        config = space.build({"x": x, "mixture": Mixture({"a": 0.5, "b": 0.5})})
        segment = Segment(i, config, 0, 1, 0)
        history.open(segment, {})
        history.close(Outcome(segment, "ok", (Point(1, Value(-abs(x - 0.8))),), ()))
    problem = Synthetic(space=space, fidelity=Fidelity((1, 2))).problem("100x")
    kde = Kde(random_share=0.0)
    found = []
    for seed in range(20):
        ctx = AskContext(np.random.default_rng(seed), 0, 0.0, (), history, 10.0)
        pick = kde(problem, ctx, (), 1)
        assert pick is not None
        drawn = pick.config["x"]
        assert isinstance(drawn, float)
        found.append(drawn)
    assert abs(float(np.mean(found)) - 0.8) < 0.1


def test_offspring_lie_between_their_parents() -> None:
    # three equal parents: the mutant is their common point, so the offspring mixes two points
    space = Space((Float("x", 0.0, 1.0), Float("z", 0.0, 1.0)))
    history = History()
    for i in range(3):
        segment = Segment(i, space.build({"x": 0.25, "z": 0.75}), 0, 1, 0)
        history.open(segment, {})
        history.close(Outcome(segment, "ok", (Point(1, Value(0.0)),), ()))
    problem = Synthetic(space=space, fidelity=Fidelity((1, 2))).problem("100x")
    pick = Evolution()(problem, _context(history), (), 1)
    assert pick is not None
    assert (pick.config["x"], pick.config["z"]) == (0.25, 0.75)


def test_a_strategy_as_sampler_sees_the_rung_as_horizon() -> None:
    seen: list[tuple[int, list[int], int]] = []

    class Spy(Random):
        def setup(self, problem: Problem) -> None:
            super().setup(problem)
            self.horizon = problem.fidelity.horizon

        def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
            most = max((p.step for t in ctx.history for p in t.points), default=0)
            seen.append((self.horizon, [t.step for t in self.seen], most))
            return super().ask(n, ctx)

    history = _history({0: [0.1, 0.2], 1: [0.3], 2: [0.2], 3: [0.0]})
    hyperband = Hyperband(sampler=Spy)
    hyperband.setup(Synthetic(fidelity=Fidelity(STEPS)).problem("100x"))
    hyperband.ask(1, _context(history))
    assert seen == [(1, [1, 1, 1, 1], 1)]
