"""One Gaussian process over (configuration, step): what the multi-fidelity strategies share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import Problem, Recommendation
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._engine import Engine
from jobs_bench_strategies._evidence import BLAMED
from jobs_bench_strategies._observing import Z95, default_config
from jobs_bench_strategies._spending import Purse
from jobs_bench_strategies._surrogate import Surrogate, caveat


@dataclass(frozen=True, slots=True)
class Fit:
    """The model after some number of tells, with the trials that it knows.

    Attributes:
        told: How many outcomes.
        trials: With a finite score where they stand, in order of their numbers.
        model: ``None`` below two of them.
    """

    told: int
    trials: tuple[TrialRecord, ...]
    model: Surrogate | None


class StepModel:
    """The covariance ``steps`` over configurations and a few steps, a factor `eta` apart.

    Args:
        problem: What is optimised.
        n_init: Trials before the model: the default recipe and one Sobol point in full (the default
            alone under a budget of six runs), then short Sobol runs; half of the budget at most.
        eta: Distance of the steps, as a factor.
        levels: How many steps, the horizon among them.
        engine: Computes the process.
    """

    def __init__(
        self, problem: Problem, n_init: int, eta: float, levels: int, engine: Engine
    ) -> None:
        self.problem = problem
        self.encoding = NativeEncoding(problem.space)
        self.steps = problem.fidelity.rungs(eta)[-levels:]
        self._engine = engine
        runs = problem.budget.limit / problem.full_cost()
        self._n_full = 1 if runs < 6 else 2
        # half of the budget at most goes into points that no model chose
        share = self.steps[0] / problem.fidelity.horizon
        rest = max(runs / 2 - self._n_full, 0.0)
        self.n_init = min(n_init, self._n_full + int(rest / share + 1e-9) + 1)
        self._fitted: Fit | None = None

    @property
    def horizon(self) -> int:
        """Return the last step."""
        return self.steps[-1]

    def rows(self, points: Sequence[tuple[Configuration, int]]) -> np.ndarray:
        """Return ``(n, d + 1)`` rows: the encoding, then the log step scaled to ``[0, 1]``."""
        low, high = math.log(self.steps[0]), math.log(self.steps[-1])
        t = [(math.log(s) - low) / (high - low) if high > low else 1.0 for _, s in points]
        rows = self.encoding.encode_all([c for c, _ in points])
        # a trial that another strategy began may stand below the lowest step considered here
        return np.concatenate([rows, np.clip(np.reshape(t, (-1, 1)), 0.0, 1.0)], axis=1)

    def at_horizon(self, configs: Sequence[Configuration]) -> np.ndarray:
        """Return the rows of `configs` at the horizon."""
        return self.rows([(c, self.horizon) for c in configs])

    def fit(self, seen: History, told: int) -> Fit:
        """Return the model of `seen`, which holds `told` outcomes; computed once per tell."""
        if self._fitted is None or self._fitted.told != told:
            self._fitted = self._fit(seen, told)
        return self._fitted

    def _fit(self, seen: History, told: int) -> Fit:
        points: list[tuple[Configuration, int]] = []
        scores: list[float] = []
        trials: list[TrialRecord] = []
        blamed: list[Configuration] = []
        for trial in sorted(seen, key=lambda t: t.trial_id):
            finite = {p.step: p.score.mean for p in trial.points if math.isfinite(p.score.mean)}
            if trial.failed or trial.step not in finite:
                if trial.status in BLAMED or trial.ok:
                    blamed.append(trial.config)
                continue
            trials.append(trial)
            # a rung a factor eta apart holds nearly all that the points between would tell
            for step in sorted({*self.steps, trial.step} & set(finite)):
                points.append((trial.config, step))
                scores.append(finite[step])
        ends = [y for (_, s), y in zip(points, scores, strict=True) if s == self.horizon]
        if ends:
            points += [(c, self.horizon) for c in blamed]
            scores += [min(ends)] * len(blamed)
        model = None
        if len(trials) >= 2:
            model = self._engine(self.rows(points), np.asarray(scores), "steps", self.encoding)
        return Fit(told, tuple(trials), model)

    def initial(
        self, taken: set[Configuration], purse: Purse, seed: int, started: int
    ) -> Start | None:
        """Return the next trial of the design, ``None`` where none can be paid for."""
        config = default_config(self.problem)
        if config in taken:
            found = _drawing.sobol(self.problem, seed, started, taken)
            if found is None:
                return None
            config = found
        wanted = self.steps if started < self._n_full else self.steps[:1]
        until = next((s for s in reversed(wanted) if purse.affords(config, 0, s)), None)
        return None if until is None else Start(config, until)

    def recommend(self, fit: Fit, trials: Sequence[TrialRecord], among: str) -> Recommendation:
        """Return the highest posterior mean at the horizon among `trials`; `fit` has a model."""
        assert fit.model is not None
        mean, sd = fit.model.predict(self.at_horizon([t.config for t in trials]))
        at = int(mean.argmax())
        return Recommendation(
            trials[at].config,
            float(mean[at]),
            float(mean[at] - Z95 * sd[at]),
            float(mean[at] + Z95 * sd[at]),
            f"highest posterior mean of the full run among {len(trials)} trials, {among}"
            f"{caveat(fit.model)}",
            trials[at].trial_id,
        )


def check_steps(n_init: int, eta: float, levels: int) -> None:
    """Refuse options out of their ranges.

    Raises:
        OptionError: One of them is.
    """
    if n_init < 1:
        raise OptionError(f"got n_init={n_init}; wanted at least 1")
    if not (math.isfinite(eta) and eta > 1):
        raise OptionError(f"got eta={eta}; wanted a number above 1")
    if levels < 1:
        raise OptionError(f"got levels={levels}; wanted at least 1")
