"""Which predictor to believe at a rung, and how much: leave-one-out on the trials that went on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import rankdata

from jobs_bench_strategies.jobs.predictors import CANDIDATES, HELD_OUT, Predict

FEWEST: Final = 5
"""Trials at the horizon below which no predictor is told from another."""
FEWEST_MLP: Final = 16
MOST_ALONE: Final = 32
"""Trials up to which each is left out alone; of more, every eighth is left out together."""
FOLDS: Final = 8
MARGIN: Final = 0.02
"""Rank correlation by which a predictor must beat carrying forward; else it abstains."""
PRIOR_TRIALS: Final = 3.0
"""Weight of what is believed of an error before any was seen, in trials."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The predictor of one rung.

    Attributes:
        step: Where histories end.
        name: The candidate in use.
        abstains: None of the others ranked better than carrying the score forward.
        rank: Leave-one-out rank correlation with the finals by candidate, NaN below `FEWEST`.
        error: Leave-one-out root mean square error by candidate.
        held_out: Predictions of the fitted trials, each made without it, ``(n,)``.
        finals: Their finals, ``(n,)``.
        predict: The predictor, fitted on all of them.
    """

    step: int
    name: str
    abstains: bool
    rank: dict[str, float]
    error: dict[str, float]
    held_out: np.ndarray
    finals: np.ndarray
    predict: Predict

    def sd(self, prior: float) -> float:
        """Return the calibrated standard deviation of a prediction, in the unit of the score.

        The root mean square of the held-out errors, with `prior` counted as `PRIOR_TRIALS` more.
        """
        n = len(self.finals) if len(self.finals) > 1 else 0
        squares = float(((self.held_out - self.finals)[:n] ** 2).sum())
        return math.sqrt((squares + PRIOR_TRIALS * prior**2) / (n + PRIOR_TRIALS))


def choose(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray, only: str = "") -> Rung:
    """Return the predictor of a rung.

    Args:
        H: Histories of the trials at the horizon, ``(n, m)``, m at least 1.
        X: Their configurations, ``(n, d)``.
        y: Their finals, ``(n,)``.
        steps: The m steps of the histories and the horizon.
        only: Name of the one candidate that may be used; empty: the best.
    """
    n = len(y)
    names = [only] if only else list(CANDIDATES)
    if not only and n < FEWEST_MLP:
        names.remove("mlp")
    if n < FEWEST:
        names = ["carry"]
    found = {name: _held_out(name, H, X, y, steps) for name in names}
    rank = {name: _rank(found[name], y) for name in names}
    error = {name: _rmse(found[name], y) for name in names}
    best = names[0]
    for name in names[1:]:
        gain = rank[name] - rank["carry"]
        if gain > MARGIN and (rank[name], -error[name]) > (rank[best], -error[best]):
            best = name
    predict = _predictor(best, H, X, y, steps)
    abstains = best == "carry" and not only
    return Rung(int(steps[-2]), best, abstains, rank, error, found[best], y, predict)


def _predictor(
    name: str, H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray
) -> Predict:
    if not len(y):
        return lambda h, _: h[:, -1]
    return CANDIDATES[name](H, X, y, steps)


def _held_out(
    name: str, H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Return predictions of every trial by the candidate fitted without it, ``(n,)``."""
    if len(y) < 2:
        return H[:, -1].copy()
    folds = _folds(len(y))
    if name in HELD_OUT:
        return HELD_OUT[name](H, X, y, steps, folds)
    out = np.empty(len(y))
    for held in folds:
        out[held] = CANDIDATES[name](H[~held], X[~held], y[~held], steps)(H[held], X[held])
    return out


def _folds(n: int) -> np.ndarray:
    """Return which trials are left out together, ``(folds, n)`` bool."""
    count = n if n <= MOST_ALONE else FOLDS
    folds: np.ndarray = np.arange(n)[None, :] % count == np.arange(count)[:, None]
    return folds


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation, 0 for a constant, NaN below `FEWEST` trials."""
    if len(a) < FEWEST:
        return math.nan
    ra, rb = rankdata(a), rankdata(b)
    sd = float(ra.std() * rb.std())
    return float(((ra - ra.mean()) * (rb - rb.mean())).mean() / sd) if sd > 0 else 0.0


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).mean())) if len(a) else math.nan
