"""`jobs`: what it believes, what it values, how it behaves in a study."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from jobs_bench.budget import Budget, Ledger
from jobs_bench.errors import CapabilityError, OptionError, UnknownNameError
from jobs_bench.fidelity import Capability
from jobs_bench.registry.loading import load_task
from jobs_bench.runner.machine import Machine
from jobs_bench.runner.simulator import simulate
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import Problem, Strategy
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.task.contract import TaskSetup
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench.texts import Texts
from jobs_bench.trial import Outcome, Point, Segment, Value
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._gp_sum import SumSurrogate
from jobs_bench_strategies._offers import Offer
from jobs_bench_strategies.bo import Bo
from jobs_bench_strategies.jobs.beliefs import Beliefs, Believer, How
from jobs_bench_strategies.jobs.strategy import Jobs
from jobs_bench_strategies.jobs.value import log_values

Study = Callable[..., Machine]
STEPS = (1, 3, 9, 27, 81)


def _seen(scores: Sequence[Sequence[float]], seed: int = 0) -> History:
    """Return a history of trials with the given scores at the first steps."""
    space, rng = small_space(), np.random.default_rng(seed)
    seen = History()
    for i, row in enumerate(scores):
        points = tuple(Point(s, Value(x, 0.01, 9)) for s, x in zip(STEPS, row, strict=False))
        segment = Segment(i, space.sample(rng), 0, points[-1].step, i)
        seen.close(Outcome(segment, "ok", points, ()))
    return seen


def _beliefs(scores: Sequence[Sequence[float]], how: How | None = None) -> Beliefs:
    return Believer(NativeEncoding(small_space()), STEPS, how or How())(_seen(scores))


def _model(beliefs: Beliefs) -> NativeSurrogate:
    assert isinstance(beliefs.model, NativeSurrogate)
    return beliefs.model


def _curves(n_full: int, n_short: int, sd: float, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_full + n_short):
        limit = rng.normal()
        fades = [1.0, 0.7, 0.4, 0.2, 0.0]
        drift = rng.normal() * sd
        row = [limit - f * (1 + drift) for f in fades]
        rows.append(row if i < n_full else row[:2])
    return rows


def test_errors_never_rise_with_the_step_and_deviations_follow_them() -> None:
    beliefs = _beliefs(_curves(8, 6, 1.0))
    errors = [beliefs.errors[s] for s in STEPS[:-1]]
    assert errors == sorted(errors, reverse=True)
    assert beliefs.deviations[1] == 1.0
    assert beliefs.deviations[81] == 0.0
    assert all(0 < beliefs.deviations[s] <= 1 for s in STEPS[:-1])


def test_predictions_that_hit_are_believed_more_than_those_that_miss() -> None:
    """The same short run leaves less doubt where short runs were right before."""
    good, bad = _beliefs(_curves(8, 4, 0.05)), _beliefs(_curves(8, 4, 3.0))
    _, doubt_good = good.at_the_horizon()
    _, doubt_bad = bad.at_the_horizon()
    paused = slice(8, None)
    unit_good, unit_bad = _model(good).scale.sd, _model(bad).scale.sd
    assert (doubt_good[paused] / unit_good).mean() < 0.8 * (doubt_bad[paused] / unit_bad).mean()


def test_uncalibrated_predictions_are_taken_for_truth() -> None:
    beliefs = _beliefs(_curves(8, 4, 3.0), How(calibrated=False))
    assert set(beliefs.deviations.values()) == {0.0}
    assert float(_model(beliefs).noise_variance.max()) == pytest.approx(
        float(_model(beliefs).noise_variance.min()), abs=1e-3
    )


def test_beliefs_are_a_function_of_the_history() -> None:
    """Incremental calls and one call agree: nothing is left over from an earlier state."""
    rows = _curves(7, 5, 0.5)
    step_by_step = Believer(NativeEncoding(small_space()), STEPS, How())
    for n in range(1, len(rows) + 1):
        last = step_by_step(_seen(rows[:n]))
    once = _beliefs(rows)
    assert last.errors == once.errors
    for mine, wanted in zip(last.at_the_horizon(), once.at_the_horizon(), strict=True):
        assert mine.tolist() == wanted.tolist()


def test_values_are_expected_gains_for_each_unit_of_cost() -> None:
    beliefs = _beliefs(_curves(6, 4, 0.5))
    trial = beliefs.trials[-1]
    incumbent = float(beliefs.at_the_horizon()[0][:6].max())
    offers = [
        Offer(trial.config, 3, 9, 0.1, 0.8, trial.trial_id),
        Offer(trial.config, 3, 81, 0.9, 0.0, trial.trial_id),
    ]
    got = log_values(beliefs, offers, incumbent)
    rng = np.random.default_rng(0)
    model = _model(beliefs)
    for offer, value in zip(offers, got, strict=True):
        rows = beliefs.rows([(trial.config, 81), (trial.config, offer.until)])
        mean = model.predict(rows)[0][0]
        joint = model.joint(rows) * model.scale.sd**2
        s = abs(joint[0, 1]) / math.sqrt(joint[1, 1] + model.noise * model.scale.sd**2)
        after = mean + s * rng.normal(size=400_000)
        gain = np.maximum(after - incumbent, 0).mean()
        cost = offer.cost + (after > incumbent).mean() * offer.rest
        assert math.exp(value) == pytest.approx(gain / cost, rel=0.05)
    free = log_values(beliefs, offers, incumbent, cost_aware=False)
    assert free[1] > free[0], "cost apart, the full run tells more"
    hopeless = log_values(beliefs, offers, incumbent + 1e3 * model.scale.sd)
    assert np.isfinite(hopeless).all()


def test_it_continues_trials_and_recommends_what_it_trained_in_full(study: Study) -> None:
    machine = study(Jobs(), Synthetic(seed=1), "12x")
    trials = list(machine.history)
    horizon = machine.problem.fidelity.horizon
    resumed = [t for t in trials if len(t.notes) > 1]
    assert len(resumed) >= 2
    assert sum(t.step < horizon for t in trials) >= 3, "most runs stay short"
    recommended = machine.recommendation
    assert recommended is not None
    assert recommended.trial_id is not None
    assert machine.history[recommended.trial_id].step == horizon
    low, score, high = recommended.low, recommended.score, recommended.high
    assert low is not None
    assert score is not None
    assert high is not None
    assert low < score < high
    assert trials[0].config == machine.problem.default


@pytest.mark.parametrize("texts", [True, False])
def test_the_mixture_that_looks_like_the_target_comes_early(study: Study, texts: bool) -> None:
    class Readable(Synthetic):
        def texts(self) -> Texts:
            rows = {d: [f"word{i} {d}" for i in range(400)] for d in self._domains()}
            return Texts(rows, [f"what is {self._domains()[0]}"] * 20)

    task = Readable(seed=1)
    machine = study(Jobs(texts=texts), task, "9x")
    trials = [machine.history[i] for i in range(3)]
    assert trials[0].config == machine.problem.default
    share = trials[1].config.mixture()["d0"]
    if texts:
        assert share > 0.7, "domain 0 is the target's"
        assert trials[1].config == machine.problem.default.with_(
            {"mixture": trials[1].config.mixture()}
        )
    else:
        assert share < 0.7
    assert len({t.config for t in trials}) == 3


def test_restarting_costs_what_continuing_saves(study: Study) -> None:
    machine = study(Jobs(resume=False), Synthetic(seed=1), "12x")
    assert all(len(t.notes) == 1 for t in machine.history)
    again = [t for t in machine.history if "of" in t.note]
    assert again
    for trial in again:
        assert trial.config == machine.history[int(str(trial.note["of"]))].config
    assert machine.spent == pytest.approx(_price(machine) + sum(_half_way(machine, again)))
    continuing = study(Jobs(), Synthetic(seed=1), "12x")
    assert continuing.spent == pytest.approx(_price(continuing))


def _price(machine: Machine) -> float:
    """Return what the longest run of every configuration costs from its beginning."""
    cost = machine.problem.cost
    longest: dict[Configuration, int] = {}
    for trial in machine.history:
        longest[trial.config] = max(trial.step, longest.get(trial.config, 0))
    return sum(cost(config, 0, step) for config, step in longest.items())


def _half_way(machine: Machine, again: Sequence[TrialRecord]) -> list[float]:
    """Return what the runs cost that were begun anew later."""
    left = [machine.history[int(str(t.note["of"]))] for t in again]
    return [machine.problem.cost(t.config, 0, t.step) for t in left]


def _regret(strategy: Strategy, spec: str, budget: float) -> float:
    task = load_task(spec, TaskSetup())
    horizon, default = task.fidelity().horizon, task.space().default()
    full = sum(c.flop for c in task.cost(default, 0, horizon))
    problem = Problem(
        space=task.space(),
        fidelity=task.fidelity(),
        budget=Budget(budget, "x"),
        cost=lambda c, start, until: sum(x.flop for x in task.cost(c, start, until)) / full,
        default=default,
    )
    evaluator = task.evaluator(None)  # type: ignore[arg-type]  # it asks nothing of the runtime
    ended = simulate(strategy, problem, Ledger(full), 0, lambda s: evaluator.run([s])[0])
    return -evaluator.oracle(ended.recommendation.config, [0])[0].points[-1].score.mean


@pytest.mark.slow
def test_it_beats_full_runs_alone_where_short_runs_tell() -> None:
    specs = [f"synthetic?correlation=0.95&interaction=1&instance={i}" for i in range(40, 45)]
    ours = [_regret(Jobs(), spec, 10.0) for spec in specs]
    theirs = [_regret(Bo(), spec, 10.0) for spec in specs]
    assert np.mean(ours) < np.mean(theirs)


def test_pilots_can_be_fixed(study: Study) -> None:
    machine = study(Jobs(n_pilot=5), Synthetic(seed=2), "14x")
    phases = [n.get("phase") for t in machine.history for n in t.notes]
    horizon = machine.problem.fidelity.horizon
    first = next(i for i, t in enumerate(machine.history) if t.notes[0].get("phase") == "search")
    before = [t for t in list(machine.history)[:first] if t.step == horizon]
    assert len(before) >= 5
    assert "pilot" in phases


def test_artifacts_say_how_the_budget_was_split(study: Study) -> None:
    strategy = Jobs()
    study(strategy, Synthetic(seed=1), "16x")
    found = {a.name: a.content for a in strategy.artifacts()}
    assert {"split", "predictors", "calibration"} <= set(found)
    assert "pilots" in str(found["split"]["text"])
    table = found["predictors"]["table"]
    assert all(len(row) == len(table["columns"]) for row in table["rows"])  # type: ignore[index]
    json.dumps(found, allow_nan=False)


def test_artifacts_of_nothing() -> None:
    strategy = Jobs()
    strategy.setup(Synthetic().problem("8x"))
    assert {a.name for a in strategy.artifacts()} == {"split", "predictors"}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Jobs(n_init=0), "got n_init=0"),
        (lambda: Jobs(n_pilot=-1), "got n_pilot=-1"),
        (lambda: Jobs(predictor="oracle"), "no predictor named 'oracle'"),
        (lambda: Jobs(recommend="best"), "no recommend named 'best'"),
    ],
)
def test_refuses_bad_options(make: Callable[[], Jobs], text: str) -> None:
    with pytest.raises((OptionError, UnknownNameError), match=text):
        make()


def test_refuses_what_cannot_be_before_anything_is_spent() -> None:
    problem = Synthetic().problem("4x")
    with pytest.raises(OptionError, match="got n_pilot=9; wanted at most the 4 full runs"):
        Jobs(n_pilot=9).setup(problem)
    without = dataclasses.replace(problem, capabilities=frozenset({"curves"}))
    with pytest.raises(CapabilityError, match="needs a task that can resume"):
        Jobs().setup(without)


def _mixture(config: Configuration) -> Mixture:
    mixture = config["mixture"]
    assert isinstance(mixture, Mixture)
    return mixture


class _InParts(Synthetic):
    """The analytic problem with its score shown as a sum of two parts."""

    def run(self, segment: Segment) -> Outcome:
        outcome = super().run(segment)
        points = []
        for point in outcome.points:
            tilt = next(iter(_mixture(segment.config).values())) ** 2
            parts = {"a": Value(-2 * point.score.mean + tilt), "b": Value(tilt)}
            points.append(dataclasses.replace(point, metrics=parts))
        return dataclasses.replace(outcome, points=tuple(points))

    def problem(
        self,
        budget: str = "8x",
        workers: int = 1,
        capabilities: Sequence[Capability] = ("resume", "curves"),
    ) -> Problem:
        parts = (("a", -0.5), ("b", 0.5))
        return dataclasses.replace(super().problem(budget, workers, capabilities), parts=parts)


def test_each_part_of_the_score_has_a_process(study: Study) -> None:
    strategy = Jobs()
    machine = study(strategy, _InParts(seed=1), "20x")
    model = strategy._believe().model
    assert isinstance(model, SumSurrogate)
    assert model.y.shape[0] == 2
    plain = Jobs(parts=False)
    study(plain, _InParts(seed=1), "12x")
    assert isinstance(plain._believe().model, NativeSurrogate)
    done = [t for t in machine.history if t.step == machine.problem.fidelity.horizon]
    mean, _ = strategy._believe().at_the_horizon()
    known = {t.trial_id: m for t, m in zip(strategy._believe().trials, mean, strict=True)}
    finals = [t.points[-1].score.mean for t in done]
    # four seeds came to .91 to .99
    assert np.corrcoef([known[t.trial_id] for t in done], finals)[0, 1] > 0.8


def test_parts_that_are_not_measured_leave_one_process(study: Study) -> None:
    class Mute(_InParts):
        def run(self, segment: Segment) -> Outcome:
            return Synthetic.run(self, segment)

    strategy = Jobs()
    study(strategy, Mute(seed=1), "8x")
    assert isinstance(strategy._believe().model, NativeSurrogate)
