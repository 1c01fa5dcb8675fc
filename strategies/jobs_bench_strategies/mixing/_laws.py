"""Regressions from mixture weights to a loss: what the methods know of mixtures not yet trained.

Each fit takes ``(n, k)`` weights and ``(n,)`` losses and returns a function of ``(q, k)`` weights.
Measured on RegMix's public proxy runs, `results/NOTES.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from jobs_bench.ops import GpPriors, GpSpec, GpTerm, gp_condition, gp_fit, gp_posterior
from jobs_bench_strategies._scaling import Scale

Law = Callable[[np.ndarray], np.ndarray]

_PENALTIES = np.geomspace(1e-4, 1e2, 13)
_STARTS = 6
_HUBER = 0.02
_CHUNK = 10_000  # rows predicted at a time


def fit_gp(weights: np.ndarray, losses: np.ndarray) -> Law:
    """Return a Gaussian process on square roots of the weights (Matern-5/2, BoTorch's priors).

    Its mean is the law; parameters are those of the highest posterior density.
    """
    k = weights.shape[1]
    columns = tuple(range(k))
    spec = GpSpec((GpTerm("matern52", columns),), columns)
    scale = Scale.of(losses)
    rows = torch.as_tensor(weights, dtype=torch.float64)
    y = torch.as_tensor(scale.standardise(losses), dtype=torch.float64)
    found = gp_fit(rows, y, spec, GpPriors.botorch(spec))
    state = gp_condition(rows, y, found.theta, found.noise, found.mean, spec)

    def law(at: np.ndarray) -> np.ndarray:
        parts = torch.as_tensor(at, dtype=torch.float64).split(_CHUNK)
        mean = torch.cat([gp_posterior(state, part)[0] for part in parts]).numpy()
        restored: np.ndarray = mean * scale.sd + scale.mean
        return restored

    return law


def fit_ridge(weights: np.ndarray, losses: np.ndarray) -> Law:
    """Return ridge regression on square roots of the weights, penalty by leave-one-out."""
    model = RidgeCV(alphas=_PENALTIES).fit(np.sqrt(weights), losses)

    def law(at: np.ndarray) -> np.ndarray:
        found: np.ndarray = model.predict(np.sqrt(at))
        return found

    return law


def fit_trees(weights: np.ndarray, losses: np.ndarray) -> Law:
    """Return boosted regression trees, small ones with leaves of two runs and more.

    RegMix's settings (learning rate 0.01, 1000 rounds, leaves of 20, early stopping on the test
    table) are for 512 runs; a few dozen runs leave a constant. These 200 trees at 0.05 rank the
    held-out public runs as well as any other setting tried, see `results/NOTES.md`.
    """
    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=200,
            max_leaf_nodes=8,
            min_samples_leaf=2,
            early_stopping=False,
            random_state=0,
        ).fit(weights, losses)

    def law(at: np.ndarray) -> np.ndarray:
        with threadpool_limits(1):
            found: np.ndarray = model.predict(at)
        return found

    return law


@dataclass(frozen=True)
class LogLinear:
    """``c + exp(b + t . w)``: the mixing law of Ye et al. 2024 and Olmix, for one loss.

    Attributes:
        floor: `c`, the loss that no mixture goes below, at least 0.
        offset: `b`.
        slopes: `t`, ``(k,)``; negative where a domain helps.
    """

    floor: float
    offset: float
    slopes: np.ndarray

    def __call__(self, at: np.ndarray) -> np.ndarray:
        """Return the losses at ``(q, k)`` weights."""
        found: np.ndarray = self.floor + np.exp(self.offset + at @ self.slopes)
        return found

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Return the gradient at ``(k,)`` weights."""
        found: np.ndarray = np.exp(self.offset + w @ self.slopes) * self.slopes
        return found


def fit_log_linear(weights: np.ndarray, losses: np.ndarray) -> LogLinear:
    """Return the law with the smallest robust (Huber) error over several starting floors.

    `b` is absorbed by the slopes on the simplex up to a constant, which a small pull of the slopes
    towards 0 settles. Losses must be above 0 for the floor to mean anything; they are shifted when
    they are not.
    """
    shift = min(0.0, float(losses.min()) - 1.0)
    y = losses - shift
    scale = max(float(y.std()), 1e-12)
    k = weights.shape[1]
    pull = 1e-3

    def residual(x: np.ndarray) -> np.ndarray:
        fit = np.minimum(x[1] + weights @ x[2:], 50.0)
        return np.concatenate([(x[0] + np.exp(fit) - y) / scale, pull * x[2:]])

    def slope(x: np.ndarray) -> np.ndarray:
        e = np.exp(np.minimum(x[1] + weights @ x[2:], 50.0)) / scale
        top = np.column_stack([np.full(len(y), 1 / scale), e, e[:, None] * weights])
        return np.vstack([top, np.hstack([np.zeros((k, 2)), pull * np.eye(k)])])

    best = None
    low = float(y.min())
    for share in np.linspace(0.0, 0.98, _STARTS):
        floor = share * low
        plain = np.column_stack([np.ones(len(y)), weights])
        start = np.linalg.lstsq(plain, np.log(np.maximum(y - floor, 1e-3 * scale)), rcond=None)[0]
        found = least_squares(
            residual,
            np.concatenate([[floor], start]),
            jac=slope,
            bounds=(np.r_[0.0, np.full(k + 1, -np.inf)], np.r_[low, np.full(k + 1, np.inf)]),
            loss="huber",
            f_scale=max(_HUBER / scale, 0.05),
            max_nfev=300,
        )
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return LogLinear(float(best.x[0]) + shift, float(best.x[1]), best.x[2:])
