"""Multi-fidelity strategies that weigh segments by a value for each unit of cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import Resume, Start
from jobs_bench_strategies._acquire import best_few
from jobs_bench_strategies._engine import EngineName
from jobs_bench_strategies._evidence import best_first
from jobs_bench_strategies._observing import best_observed
from jobs_bench_strategies._offers import Offer, ways
from jobs_bench_strategies._spending import Purse
from jobs_bench_strategies._step_model import Fit
from jobs_bench_strategies._step_search import StepSearch
from jobs_bench_strategies._surrogate import LogEI, Surrogate, Ucb

_HORIZON = (1.0,)  # the step's column there
_ANCHORS = 4
_NEW = 6  # new configurations by each of two criteria
_OLD = 12  # paused trials
_BETA = 4.0


@dataclass(frozen=True, slots=True)
class Weighed:
    """Joint Gaussian of what can be recommended and what can be observed, standardised.

    Attributes:
        mean: Of the alternatives at the horizon, ``(a,)``.
        covariance: Of alternatives and observations, those first, ``(a + o, a + o)``.
        noise: Variance of an observation's noise.
        own: Which alternative each observation is of, ``(o,)``.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    own: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """Return covariances of observations and alternatives over the former's sd, ``(o, a)``."""
        a = len(self.mean)
        shown = np.diag(self.covariance)[a:] + self.noise
        found: np.ndarray = self.covariance[a:, :a] / np.sqrt(np.maximum(shown, 1e-12))[:, None]
        return found


class MfByValue(StepSearch):
    """The segment of the highest value for each unit of cost.

    A subclass says what a segment is worth (`_values`). Considered are new configurations (the best
    by LogEI and by UCB at the horizon) and paused trials, each to every later step.
    """

    def __init__(
        self, *, n_init: int = 8, eta: float = 3.0, levels: int = 3, engine: EngineName = "native"
    ) -> None:
        super().__init__(n_init, eta, levels, engine)

    def recommend(self) -> Recommendation:
        """Return the highest posterior mean at the horizon among all configurations tried."""
        fit = self._fit()
        if fit.model is None:
            return best_observed(self.problem, self.seen)
        full = sum(t.step == self._steps.horizon for t in fit.trials)
        return self._steps.recommend(fit, fit.trials, f"{full} of them at the horizon")

    def _values(self, weighed: Weighed, seed: int) -> np.ndarray:
        """Return what each observation is worth, ``(o,)``, at least 0."""
        raise NotImplementedError

    def _best(
        self,
        model: Surrogate,
        fit: Fit,
        busy: set[int],
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> Start | Resume | None:
        new = self._new(model, fit, taken, purse, seed)
        offers = [o for c in new for o in ways(self.problem, self._steps.steps, c, 0)]
        mean, sd = model.predict(self._steps.at_horizon([t.config for t in fit.trials]))
        for i in np.argsort(-(mean + math.sqrt(_BETA) * sd), kind="stable"):
            trial = fit.trials[int(i)]
            if len({o.trial_id for o in offers}) > _OLD:
                break
            if trial.trial_id not in busy and trial.step < self._steps.horizon:
                known = trial.config, trial.step, trial.trial_id
                offers += ways(self.problem, self._steps.steps, *known)
        offers = [o for o in offers if purse.affords(o.config, o.start, o.until)]
        if not offers:
            return None
        values = self._values(self._weigh(model, fit, new, offers), seed)
        cost = np.asarray([o.cost for o in offers])
        at = offers[int(np.argmax(values / np.maximum(cost, 1e-300)))]
        return Start(at.config, at.until) if at.trial_id is None else Resume(at.trial_id, at.until)

    def _new(
        self, model: Surrogate, fit: Fit, taken: set[Configuration], purse: Purse, seed: int
    ) -> list[Configuration]:
        configs = [t.config for t in fit.trials]
        rows = self._steps.at_horizon(configs)
        mean, _ = model.predict(rows)
        anchors = best_first(configs, mean)[:_ANCHORS]
        found: dict[Configuration, None] = {}
        for goal in (LogEI(model.best_mean(rows)), Ucb(_BETA)):
            landscape = model.landscape(goal, self._steps.encoding, _HORIZON)
            few = best_few(
                landscape,
                self.problem,
                seed,
                anchors,
                lambda c: c not in taken and purse.affords(c, 0, self._steps.steps[0]),
                _NEW,
            )
            found |= dict.fromkeys(few)
        return list(found)

    def _weigh(
        self, model: Surrogate, fit: Fit, new: Sequence[Configuration], offers: Sequence[Offer]
    ) -> Weighed:
        alternatives = list(dict.fromkeys([*(t.config for t in fit.trials), *new]))
        number = {config: i for i, config in enumerate(alternatives)}
        rows = self._steps.rows(
            [(c, self._steps.horizon) for c in alternatives] + [(o.config, o.until) for o in offers]
        )
        covariance = model.joint(rows)
        mean, sd = model.predict(rows[: len(alternatives)])
        # the unit of the covariance: standardised scores
        unit = float(np.median(sd / np.sqrt(np.maximum(np.diag(covariance)[: len(sd)], 1e-12))))
        own = np.asarray([number[o.config] for o in offers])
        return Weighed(mean / max(unit, 1e-300), covariance, model.noise, own)
