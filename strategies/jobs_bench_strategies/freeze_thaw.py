"""Freeze-thaw Bayesian optimisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.ops import Gamma, GpBox, GpFidelity, GpPriors, GpSpec, GpTerm, LogNormal
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Outcome, Proposal, Resume, Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._acquire import best_few
from jobs_bench_strategies._evidence import best_first
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._log_gain import log_gain
from jobs_bench_strategies._observing import Z95, best_observed, default_config
from jobs_bench_strategies._offers import Offer, ways
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies._surrogate import LogEI, caveat

_SLICES = 8  # of the horizon: a run goes on for one of them at a time
_OLD = 10  # paused trials in the basket, as in the paper
_NEW = 3  # new configurations in it, as in the paper
_DONE = 5  # finished trials that the maximum may lie at, besides
_ANCHORS = 4
_FANTASIES = 8
_DRAWS = 256
_REFIT = 1.15  # parameters are fitted anew when this many times as many outcomes are there
_APART = 40.0  # Hamming weight between trials: exp(-40) is nothing

Point = tuple[Configuration, int, int]
"""A configuration, a step and the number of its trial; negative numbers are trials to come."""


class FreezeThaw:
    """Curves that decay to an asymptote: runs are frozen and thawed, an eighth at a time.

    Reference: Swersky, Snoek and Adams 2014 (arXiv 1406.3896). Scores are a Gaussian process over
    configurations, where curves end, plus an independent process a trial with the covariance
    ``b^a / (t + t' + b)^a`` (eq. 6). A basket holds the paused trials and the new configurations of
    the highest expected improvement at the horizon; the one whose next slice lowers the entropy of
    where the maximum lies most is run (their section 3.3, by fantasies). What differs: the value of
    a curve at the horizon is what counts, not its asymptote; gains are per unit of cost; parameters
    are fitted, not sampled, and not at every outcome. It finishes few runs: where short ones
    mislead, so does it. Cost of an ask: some 30 ms at 50 trials.

    Args:
        n_init: Trials before the model, each to the first slice: the default recipe, then Sobol
            points; a third of the budget at most. At least 2.
        fantasies: Outcomes imagined of each candidate, ``[1, inf)``.
    """

    info = StrategyInfo(
        "freeze_thaw",
        "Gaussian process of decaying curves; runs are paused and resumed by entropy search",
        needs=frozenset({"resume", "curves"}),
        reference="Swersky et al. 2014, arXiv 1406.3896",
    )

    def __init__(self, *, n_init: int = 8, fantasies: int = _FANTASIES) -> None:
        if n_init < 2:
            raise OptionError(f"got n_init={n_init}; wanted at least 2")
        if fantasies < 1:
            raise OptionError(f"got fantasies={fantasies}; wanted at least 1")
        self.n_init = n_init
        self.fantasies = fantasies
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task cannot resume a trial.
        """
        if "resume" not in problem.capabilities:
            raise CapabilityError(
                "freeze_thaw needs a task that can resume trials; this one cannot"
            )
        self.problem = problem
        self.seen = History()
        self._encoding = NativeEncoding(problem.space)
        self._spec, self._priors = covariance(self._encoding)
        self._horizon = problem.fidelity.horizon
        self._steps = slices(problem.fidelity.steps)
        runs = problem.budget.limit / problem.full_cost()
        short = problem.cost(problem.default, 0, self._steps[0]) / problem.full_cost()
        self._n_init = max(2, min(self.n_init, int(runs / 3 / short)))
        self._told: list[Outcome] = []
        self._parameters: tuple[int, NativeSurrogate] | None = None
        self._model: tuple[int, NativeSurrogate | None] | None = None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)
        self._told.extend(outcomes)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` segments."""
        purse = Purse(self.problem, ctx)
        seed = _drawing.sobol_seed(ctx)
        taken = _drawing.tried(ctx.history)
        busy = {t.trial_id for t in ctx.history if t.until is not None or t.retired}
        believed: list[Point] = [
            (t.config, t.until, t.trial_id) for t in ctx.history if t.until is not None
        ]
        work: list[Proposal] = []
        for i in range(n):
            model = self._fit()
            started = len(ctx.history) + sum(isinstance(p, Start) for p in work)
            offer = None
            if model is None or started < self._n_init:
                offer = self._initial(taken, purse, seed, started)
            if offer is None and model is not None:
                informed = model.believing(self._rows(believed))
                offer = self._thaw(informed, busy, taken, purse, ctx.torch_seed + i)
            if offer is None:
                break
            purse.take(offer.config, offer.start, offer.until)
            new = offer.trial_id is None
            known = -1000 - i if offer.trial_id is None else offer.trial_id
            believed.append((offer.config, offer.until, known))
            if new:
                taken.add(offer.config)
                work.append(Start(offer.config, offer.until, {_drawing.SOBOL_SEED: seed}))
            else:
                busy.add(known)
                work.append(Resume(known, offer.until))
        return work or [end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the highest posterior mean at the horizon among all trials."""
        model = self._fit()
        trials = self._usable(self.seen)
        if model is None or not trials:
            return best_observed(self.problem, self.seen)
        mean, sd = model.predict(
            self._rows([(t.config, self._horizon, t.trial_id) for t in trials])
        )
        at = int(mean.argmax())
        full = sum(t.step == self._horizon for t in trials)
        return Recommendation(
            trials[at].config,
            float(mean[at]),
            float(mean[at] - Z95 * sd[at]),
            float(mean[at] + Z95 * sd[at]),
            f"highest predicted score at step {self._horizon} among {len(trials)} trials, "
            f"{full} of them trained to it{caveat(model)}",
            trials[at].trial_id,
        )

    def _rows(self, points: Sequence[Point]) -> np.ndarray:
        """Return ``(n, d + 2)`` rows: configuration, step over horizon, number of the trial."""
        rows = self._encoding.encode_all([c for c, _, _ in points])
        rows = rows.reshape(len(points), self._encoding.d)
        beyond = np.asarray([(s / self._horizon, k) for _, s, k in points], dtype=np.float64)
        return np.concatenate([rows, beyond.reshape(-1, 2)], axis=1)

    def _usable(self, seen: History) -> list[TrialRecord]:
        """Return the trials with a finite score where they stand, in order of their numbers."""
        found = []
        for trial in sorted(seen, key=lambda t: t.trial_id):
            last = trial.last
            if not trial.failed and last is not None and math.isfinite(last.score.mean):
                found.append(trial)
        return found

    def _data(self, seen: History) -> tuple[np.ndarray, np.ndarray]:
        points: list[Point] = []
        scores: list[float] = []
        for trial in self._usable(seen):
            for point in trial.points:
                if point.step in self._steps and math.isfinite(point.score.mean):
                    points.append((trial.config, point.step, trial.trial_id))
                    scores.append(point.score.mean)
        return self._rows(points), np.asarray(scores)

    def _fit(self) -> NativeSurrogate | None:
        """Return the process after everything told; a function of what was told alone."""
        if self._model is None or self._model[0] != len(self._told):
            self._model = (len(self._told), self._fit_now())
        return self._model[1]

    def _fit_now(self) -> NativeSurrogate | None:
        rows, scores = self._data(self.seen)
        if len(set(rows[:, -1].tolist())) < 2:
            return None
        at = last_refit(len(self._told))
        if self._parameters is None or self._parameters[0] != at:
            before = History()
            before.extend(self._told[:at])
            known, values = self._data(before)
            if len(set(known[:, -1].tolist())) < 2:
                known, values = rows, scores
            fitted = NativeSurrogate.believed(known, values, self._spec, self._priors)
            self._parameters = (at, fitted)
        return self._parameters[1].with_data(rows, scores)

    def _initial(
        self, taken: set[Configuration], purse: Purse, seed: int, started: int
    ) -> Offer | None:
        config: Configuration | None = default_config(self.problem)
        if config in taken:
            config = _drawing.sobol(self.problem, seed, started, taken)
        if config is None or not purse.affords(config, 0, self._steps[0]):
            return None
        return ways(self.problem, self._steps, config, 0)[0]

    def _thaw(
        self,
        model: NativeSurrogate,
        busy: set[int],
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> Offer | None:
        trials = self._usable(self.seen)
        ends = self._rows([(t.config, self._horizon, t.trial_id) for t in trials])
        mean, sd = model.predict(ends)
        best = float(mean.max())
        sd = np.maximum(sd, 1e-12)
        promise = np.argsort(-(np.log(sd) + log_gain((mean - best) / sd)), kind="stable")
        offers: list[Offer] = []
        for trial in (trials[i] for i in promise):
            if len(offers) == _OLD:
                break
            if trial.step < self._horizon and trial.trial_id not in busy:
                offers += ways(self.problem, self._steps, trial.config, trial.step, trial.trial_id)[
                    :1
                ]
        for config in self._new(model, trials, mean, best, taken, purse, seed):
            offers += ways(self.problem, self._steps, config, 0)[:1]
        offers = [o for o in offers if purse.affords(o.config, o.start, o.until)]
        if not offers:
            return None
        done = [trials[i] for i in np.argsort(-mean, kind="stable")[:_DONE]]
        at: list[Point] = [
            (o.config, self._horizon, -1 - i if o.trial_id is None else o.trial_id)
            for i, o in enumerate(offers)
        ]
        others: list[Point] = [
            (t.config, self._horizon, t.trial_id)
            for t in done
            if t.trial_id not in {o.trial_id for o in offers}
        ]
        seen: list[Point] = [(c, o.until, k) for (c, _, k), o in zip(at, offers, strict=True)]
        rows = self._rows([*at, *others, *seen])
        a = len(at) + len(others)
        middle, _ = model.predict(rows[:a])
        gains = entropy_gains(
            middle / model.scale.sd, model.joint(rows), model.noise, self.fantasies, seed
        )
        cost = np.asarray([o.cost for o in offers])
        return offers[int(np.argmax(gains / np.maximum(cost, 1e-300)))]

    def _new(
        self,
        model: NativeSurrogate,
        trials: Sequence[TrialRecord],
        mean: np.ndarray,
        best: float,
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> list[Configuration]:
        landscape = model.landscape(
            LogEI((best - model.scale.mean) / model.scale.sd), self._encoding, (1.0, -1.0)
        )
        return best_few(
            landscape,
            self.problem,
            seed,
            best_first([t.config for t in trials], mean)[:_ANCHORS],
            lambda c: c not in taken and purse.affords(c, 0, self._steps[0]),
            _NEW,
        )


def slices(steps: Sequence[int]) -> tuple[int, ...]:
    """Return evaluation steps about an eighth of the horizon apart, the horizon last."""
    ends = [k / _SLICES * steps[-1] for k in range(1, _SLICES + 1)]
    return tuple(sorted({next(s for s in steps if s >= end) for end in ends}))


def covariance(encoding: NativeEncoding) -> tuple[GpSpec, GpPriors]:
    """Return the process over rows of configuration, step over horizon and trial."""
    smooth = encoding.of_kind("weight", "float", "int")
    names = encoding.of_kind("category", "flag")
    t, trial = encoding.d, encoding.d + 1
    ends = GpTerm("matern52", smooth, names)
    curve = GpTerm("matern52", (), (trial,), (GpFidelity("decay", t),))
    spec = GpSpec((ends, curve), encoding.of_kind("weight"))
    boxes = []
    for role, term, _ in spec.parameters:
        if role == "lengthscale":
            boxes.append(GpBox.lengthscale(len(smooth)))
        elif role == "weight":
            boxes.append(GpBox.hamming(len(names)) if term == 0 else GpBox.fixed(_APART))
        elif role == "power":
            boxes.append(GpBox.positive(1.0, prior=LogNormal(0.0, 0.5)))
        elif role == "fidelity_lengthscale":
            boxes.append(GpBox.positive(0.2, prior=LogNormal(math.log(0.2), 1.0)))
        elif role == "offset":
            boxes.append(GpBox.fixed(0.0))
        else:
            boxes.append(GpBox.positive(1.0, prior=Gamma(2.0, 2.0)))
    noise = LogNormal(-4.0, 1.0)
    return spec, GpPriors(
        tuple(boxes),
        GpBox(1e-4, math.inf, noise.mode, noise),
        GpBox(-math.inf, math.inf, 0.0),
    )


def last_refit(told: int) -> int:
    """Return the largest number of a geometric ladder that is at most `told`."""
    at = 2
    while (following := max(at + 1, round(at * _REFIT))) <= told:
        at = following
    return min(at, told)


def entropy_gains(
    mean: np.ndarray, covariance: np.ndarray, noise: float, fantasies: int, seed: int
) -> np.ndarray:
    """Return how far each observation lowers the entropy of where the maximum lies, in nats.

    The distribution of the maximum is counted over common draws; outcomes are imagined at equally
    probable quantiles (Swersky et al. 2014, section 3.3; Hennig and Schuler 2012).

    Args:
        mean: Of the alternatives, ``(a,)``.
        covariance: Of alternatives and then observations, ``(a + o, a + o)``.
        noise: Variance of an observation's noise.
        fantasies: Outcomes imagined of each.
        seed: Of the draws.

    Returns:
        ``(o,)``.
    """
    a = len(mean)
    draws = np.random.default_rng(seed).standard_normal((_DRAWS, a))
    now = _entropy(mean, covariance[:a, :a], draws)
    z = ndtri((np.arange(fantasies) + 0.5) / fantasies)
    gains = []
    for k in range(a, len(covariance)):
        shown = max(covariance[k, k] + noise, 1e-12)
        slope = covariance[:a, k] / math.sqrt(shown)
        left = covariance[:a, :a] - np.outer(slope, slope)
        gains.append(now - np.mean([_entropy(mean + slope * x, left, draws) for x in z]))
    return np.asarray(gains)


def _entropy(mean: np.ndarray, covariance: np.ndarray, draws: np.ndarray) -> float:
    lengths, axes = np.linalg.eigh(covariance)
    values = mean + draws @ (axes * np.sqrt(np.maximum(lengths, 0.0))).T
    counts = np.bincount(values.argmax(axis=1), minlength=len(mean))
    p = counts[counts > 0] / len(draws)
    return float(-(p * np.log(p)).sum())
