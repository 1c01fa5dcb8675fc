"""What `jobs` believes of the horizon: one Gaussian process over predictions and measurements.

A trial at the horizon enters with its score and the standard error of that score. A shorter one
enters with its *predicted* final: what predictions are wrong by is partly shared by neighbours
(short runs of one region mislead alike: the covariance ``predicted``, a deviation that no number of
short runs averages away) and partly their own, known noise. How large each rung's deviation is
relative to the lowest one's is not assumed but read off the predictors' held-out errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench_strategies._evidence import BLAMED
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._gp_sum import SumSurrogate
from jobs_bench_strategies.jobs.choice import Rung, choose

OWN: Final = 0.25
"""Share of a prediction's variance that is its own; the rest is shared by neighbours."""
DOUBT: Final = 2.5
"""What predictions are wrong by before any was checked, in spreads of the scores. Large, so that
short runs count for little until full ones have shown what they are worth."""
_LEAST_DEVIATION = 0.02  # of a rung below the horizon: it is never taken for the horizon itself


Model = NativeSurrogate | SumSurrogate


@dataclass(frozen=True, slots=True)
class Beliefs:
    """The process and what it was made of.

    Attributes:
        standing: Trials with a usable score, in order of their numbers, and the highest step
            considered at which they have one.
        rungs: The predictor of each rung.
        errors: Calibrated standard deviation of its predictions, in the unit of the score.
        model: Over (configuration, 1 - deviation); ``None`` below two scores.
        deviations: Of each step, relative to the largest one's; 0 at the horizon.
        encoding: Of the configurations.
    """

    standing: tuple[tuple[TrialRecord, int], ...]
    rungs: Mapping[int, Rung]
    errors: Mapping[int, float]
    deviations: Mapping[int, float]
    model: Model | None
    encoding: Encoder

    @property
    def horizon(self) -> int:
        """Return the last step."""
        return max(self.deviations)

    @property
    def trials(self) -> list[TrialRecord]:
        """Return the trials with a usable score."""
        return [t for t, _ in self.standing]

    @property
    def at_horizon(self) -> list[TrialRecord]:
        """Return those of them that were trained to the horizon."""
        return [t for t, at in self.standing if at == self.horizon]

    def at_the_horizon(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every trial's score at the horizon, ``(n,)``."""
        assert self.model is not None  # callers ask where there is one
        return self.model.predict(self.rows([(t.config, self.horizon) for t in self.trials]))

    def rows(self, points: Sequence[tuple[Configuration, int]]) -> np.ndarray:
        """Return ``(n, d + 1)`` rows of (configuration, step)."""
        known, most = self.deviations, max(self.deviations.values())
        t = [1.0 - known.get(step, most) for _, step in points]
        encoded = self.encoding.rows([c for c, _ in points])
        return np.concatenate([encoded, np.reshape(t, (-1, 1))], axis=1)


@dataclass(frozen=True, slots=True)
class How:
    """Switches of the beliefs, each an option of the strategy.

    Attributes:
        predictor: Name of the only candidate; empty: the best by leave-one-out.
        calibrated: Predictions carry their variance; otherwise they are taken for truth.
        parts: Metrics and weights whose sum the score is: each gets a process; empty: one for all.
    """

    predictor: str = ""
    calibrated: bool = True
    parts: tuple[tuple[str, float], ...] = ()


class Encoder:
    """Rows of configurations, each computed once."""

    def __init__(self, encoding: NativeEncoding) -> None:
        self.encoding = encoding
        self._known: dict[Configuration, np.ndarray] = {}
        self._rooted: dict[Configuration, np.ndarray] = {}

    def rows(self, configs: Sequence[Configuration]) -> np.ndarray:
        """Return ``(n, d)`` rows of the native encoding."""
        for config in configs:
            if config not in self._known:
                self._known[config] = self.encoding.encode(config)
        rows = [self._known[c] for c in configs]
        return np.stack(rows) if rows else np.zeros((0, self.encoding.d))

    def roots(self, configs: Sequence[Configuration]) -> np.ndarray:
        """Return ``(n, d)`` rows in square-root coordinates."""
        for config in configs:
            if config not in self._rooted:
                self._rooted[config] = self.encoding.hellinger(self.rows([config])[0])
        rows = [self._rooted[c] for c in configs]
        return np.stack(rows) if rows else np.zeros((0, self.encoding.d))


class Believer:
    """Turns what was told into beliefs: a function of the history alone.

    Args:
        encoding: Of the configurations.
        steps: Evaluation steps considered, ascending, ending at the horizon.
        how: Switches.
    """

    def __init__(self, encoding: NativeEncoding, steps: Sequence[int], how: How) -> None:
        self._encoder = Encoder(encoding)
        self._steps = tuple(steps)
        self._how = how
        self._rungs: tuple[tuple[int, ...], dict[int, Rung]] | None = None
        self._predicted: dict[tuple[int, int], float] = {}

    def __call__(self, seen: History) -> Beliefs:
        """Return the beliefs after `seen`."""
        standing: list[tuple[TrialRecord, int]] = []
        blamed: list[Configuration] = []
        for trial in sorted(seen, key=lambda t: t.trial_id):
            at = None if trial.failed else _stands_at(trial, self._steps)
            if at is not None:
                standing.append((trial, at))
            elif trial.status in BLAMED or trial.ok:
                blamed.append(trial.config)
        rungs = self._predictors([t for t, at in standing if at == self._steps[-1]])
        errors = self._errors(rungs, [t for t, _ in standing])
        beliefs = Beliefs(
            standing=tuple(standing),
            rungs=rungs,
            errors=errors,
            deviations=self._deviations(errors),
            model=None,
            encoding=self._encoder,
        )
        evidence = _evidence(beliefs, blamed, self._predict, self._steps[-1], self._how)
        return replace(beliefs, model=_model(beliefs, evidence, self._how))

    def _predictors(self, done: Sequence[TrialRecord]) -> dict[int, Rung]:
        """Return the predictor of each rung; made anew only when another trial is done."""
        key = tuple(t.trial_id for t in done)
        if self._rungs is None or self._rungs[0] != key:
            X = self._encoder.roots([t.config for t in done])
            y = np.asarray([_score(t, self._steps[-1]) for t in done], dtype=np.float64)
            found: dict[int, Rung] = {}
            for k, step in enumerate(self._steps[:-1]):
                early = self._steps[: k + 1]
                at = np.asarray([*early, self._steps[-1]], dtype=np.float64)
                found[step] = choose(histories(done, early), X, y, at, self._how.predictor)
            self._rungs = (key, found)
            self._predicted.clear()
        return self._rungs[1]

    def _predict(self, rung: Rung, trial: TrialRecord) -> float:
        """Return the predicted final of a trial that stands at the rung."""
        key = (trial.trial_id, rung.step)
        if key not in self._predicted:
            H = histories([trial], [s for s in self._steps if s <= rung.step])
            X = self._encoder.roots([trial.config])
            self._predicted[key] = float(rung.predict(H, X)[0])
        return self._predicted[key]

    def _errors(self, rungs: Mapping[int, Rung], trials: Sequence[TrialRecord]) -> dict[int, float]:
        """Return the standard deviation of each rung's predictions, never rising with the step.

        Before anything is checked: `DOUBT` times the scores' spread at the rung, falling with the
        log of the step to 0 at the horizon.
        """
        first, horizon = self._steps[0], self._steps[-1]
        found: dict[int, float] = {}
        for step, rung in rungs.items():
            ends = [v for t in trials if (v := t.score_at(step)) is not None and math.isfinite(v)]
            spread = float(np.std(ends)) if len(ends) > 1 else 1.0
            left = math.log(horizon / step) / math.log(horizon / first)
            found[step] = rung.sd(DOUBT * left * spread)
        falling = np.maximum.accumulate(np.asarray(list(found.values()))[::-1])[::-1]
        return dict(zip(found, falling.tolist(), strict=True))

    def _deviations(self, errors: Mapping[int, float]) -> dict[int, float]:
        """Return each step's deviation relative to the largest, 0 at the horizon."""
        horizon = self._steps[-1]
        if not self._how.calibrated:
            return {**dict.fromkeys(errors, 0.0), horizon: 0.0}
        top = max(errors.values(), default=0.0) or 1.0
        return {**{s: max(e / top, _LEAST_DEVIATION) for s, e in errors.items()}, horizon: 0.0}


@dataclass(slots=True)
class _Evidence:
    """What the process is fitted to: scores at (configuration, step), with what they are made of.

    Attributes:
        points: Configurations and steps.
        scores: Measured, or predicted for the horizon.
        known: Variances of the scores.
        measured: Where each was read off: trial and step, ``None`` for a blamed configuration.
    """

    points: list[tuple[Configuration, int]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    measured: list[tuple[TrialRecord, int] | None] = field(default_factory=list)

    def add(
        self, config: Configuration, step: int, score: float, known: float, of: TrialRecord | None
    ) -> None:
        self.points.append((config, step))
        self.scores.append(score)
        self.known.append(known)
        self.measured.append(None if of is None else (of, step))


def _evidence(
    beliefs: Beliefs,
    blamed: Sequence[Configuration],
    predict: Callable[[Rung, TrialRecord], float],
    horizon: int,
    how: How,
) -> _Evidence:
    found = _Evidence()
    held_out = _held_out(beliefs)
    for trial, at in beliefs.standing:
        if at == horizon:
            noise = _item_variance(trial, horizon)
            found.add(trial.config, horizon, _score(trial, horizon), noise, trial)
            pair = held_out.get(trial.trial_id)
            if pair is not None and how.calibrated:
                # what would have been predicted: how the model learns to weigh predictions
                step, score = pair
                own = _own_variance(beliefs, trial, step, how)
                found.add(trial.config, step, score, own, trial)
        else:
            score = predict(beliefs.rungs[at], trial)
            found.add(trial.config, at, score, _own_variance(beliefs, trial, at, how), trial)
    if found.scores:
        worst = min(found.scores)
        for config in blamed:
            found.add(config, horizon, worst, 0.0, None)
    return found


def _model(beliefs: Beliefs, evidence: _Evidence, how: How) -> Model | None:
    if sum(m is not None for m in evidence.measured) < 2:
        return None
    rows = beliefs.rows(evidence.points)
    scores, known = np.asarray(evidence.scores), np.asarray(evidence.known)
    encoding = beliefs.encoding.encoding
    if how.parts:
        values = _part_values(evidence, how.parts)
        if values is not None:
            weights = [w for _, w in how.parts]
            return SumSurrogate.fit(rows, values, weights, "predicted", encoding, known)
    return NativeSurrogate.fit(rows, scores, "predicted", encoding, known)


def _part_values(evidence: _Evidence, parts: Sequence[tuple[str, float]]) -> np.ndarray | None:
    """Return the parts of every score, ``(n, m)``, ``None`` where one was not measured.

    What a prediction adds to a short run's score is shared by the parts, so that they sum up to it;
    a blamed configuration has the worst of each.
    """
    weights = np.asarray([w for _, w in parts])
    rows = np.full((len(evidence.scores), len(parts)), math.nan)
    for i, measured in enumerate(evidence.measured):
        if measured is None:
            continue
        trial, step = measured
        shown = next((p for p in trial.points if p.step == step), None)
        if shown is None or any(name not in shown.metrics for name, _ in parts):
            return None
        now = np.asarray([shown.metrics[name].mean for name, _ in parts])
        gain = evidence.scores[i] - shown.score.mean
        rows[i] = now + gain * np.sign(weights) / np.abs(weights).sum()
    seen = np.asarray([m is not None for m in evidence.measured])
    worst = np.where(weights > 0, rows[seen].min(axis=0), rows[seen].max(axis=0))
    rows[~seen] = worst
    return rows if np.isfinite(rows).all() else None


def _stands_at(trial: TrialRecord, steps: Sequence[int]) -> int | None:
    """Return the highest of `steps` at which the trial has a finite score, ``None`` without."""
    return next((s for s in reversed(steps) if _finite(trial.score_at(s))), None)


def _held_out(beliefs: Beliefs) -> dict[int, tuple[int, float]]:
    """Return (rung, held-out prediction) of trials at the horizon: at the rung most pause at."""
    paused = [at for _, at in beliefs.standing if at in beliefs.rungs]
    if not paused:
        return {}
    rung = beliefs.rungs[max(sorted(set(paused)), key=paused.count)]
    if len(rung.finals) < 2:
        return {}
    pairs = zip(beliefs.at_horizon, rung.held_out.tolist(), strict=True)
    return {t.trial_id: (rung.step, score) for t, score in pairs}


def _own_variance(beliefs: Beliefs, trial: TrialRecord, step: int, how: How) -> float:
    """Return the variance of a prediction that is its own, the score's included."""
    if not how.calibrated:
        return 0.0
    return max(_item_variance(trial, step), OWN * beliefs.errors[step] ** 2)


def _item_variance(trial: TrialRecord, step: int) -> float:
    se = next((p.score.se for p in trial.points if p.step == step), math.nan)
    return se**2 if math.isfinite(se) else 0.0


def histories(trials: Sequence[TrialRecord], steps: Sequence[int]) -> np.ndarray:
    """Return the scores of `trials` at `steps`, ``(n, m)``."""
    rows = [[_score(t, s) for s in steps] for t in trials]
    return np.asarray(rows, dtype=np.float64).reshape(len(trials), len(steps))


def _score(trial: TrialRecord, step: int) -> float:
    """Return the score at `step`; a missing one is that of the nearest step before, or after."""
    finite = {p.step: p.score.mean for p in trial.points if math.isfinite(p.score.mean)}
    if step in finite:
        return finite[step]
    before = [s for s in finite if s < step]
    return finite[max(before) if before else min(finite)]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
