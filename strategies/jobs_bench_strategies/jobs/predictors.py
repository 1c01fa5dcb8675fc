"""From the first scores of a run to its last one: the candidates among which `choice` picks.

Every candidate is a function of fitted trials: histories ``H (n, m)`` (scores at the evaluation
steps up to a rung, oldest first), configurations ``X (n, d)`` in square-root coordinates, final
scores ``y (n,)``. It returns a predictor of finals from further ``(H, X)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from jobs_bench_strategies.jobs import perceptron

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Predict]
HoldOut = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_RIDGE = 1.0  # in units of standardised features
_NOISE = 0.3  # variance of the kernel regression's residuals, in those of its targets
_EXPONENTS = (0.25, 0.5, 1.0, 2.0)


def carry(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> Predict:
    """Carry the newest score forward, plus what the fitted trials still gained on the average."""
    del X, steps
    gain = float((y - H[:, -1]).mean())
    return lambda h, _: h[:, -1] + gain


def ridge(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> Predict:
    """Ridge regression of the remaining gain on the newest score and the gains before it.

    The penalty draws it to `carry`.
    """
    del X, steps
    scale = _Scaler(_history(H))
    Z = scale(_history(H))
    gain = y - H[:, -1]
    middle = float(gain.mean())
    beta = np.linalg.solve(Z.T @ Z + _RIDGE * np.eye(Z.shape[1]), Z.T @ (gain - middle))
    return lambda h, _: h[:, -1] + middle + scale(_history(h)) @ beta


def gp(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> Predict:
    """Gaussian process of the remaining gain over history and configuration.

    A squared exponential with the median distance as lengthscale: too few trials reach the
    horizon for fitted lengthscales.
    """
    del steps

    scale = _Scaler(_features(H, X))
    Z = scale(_features(H, X))
    gain = y - H[:, -1]
    middle, spread = float(gain.mean()), float(gain.std()) or 1.0
    far = _distances(Z, Z)
    length = float(np.median(far[far > 0])) if (far > 0).any() else 1.0
    K = np.exp(-0.5 * far / length) + _NOISE * np.eye(len(y))
    alpha = np.linalg.solve(K, (gain - middle) / spread)

    def predict(h: np.ndarray, x: np.ndarray) -> np.ndarray:
        near = np.exp(-0.5 * _distances(scale(_features(h, x)), Z) / length)
        found: np.ndarray = h[:, -1] + middle + spread * (near @ alpha)
        return found

    return predict


def power(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> Predict:
    """A power law through the last two scores, ``a - b step^-c``, with one exponent for all.

    The exponent is that of the smallest squared error on the fitted trials; what is left is
    corrected by its mean. `carry` where a history has one score.
    """
    if H.shape[1] < 2:
        return carry(H, X, y, steps)
    before, last, horizon = (float(s) for s in (steps[-3], steps[-2], steps[-1]))

    def raw(h: np.ndarray, c: float) -> np.ndarray:
        share = (last**-c - horizon**-c) / (before**-c - last**-c)
        found: np.ndarray = h[:, -1] + (h[:, -1] - h[:, -2]) * share
        return found

    errors = [float(((y - raw(H, c)) ** 2).sum()) for c in _EXPONENTS]
    c = _EXPONENTS[int(np.argmin(errors))]
    bias = float((y - raw(H, c)).mean())
    return lambda h, _: raw(h, c) + bias


def mlp(H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> Predict:
    """A small perceptron of the remaining gain over history and configuration."""
    del steps
    scale = _Scaler(_features(H, X))
    gain = y - H[:, -1]
    middle, spread = float(gain.mean()), float(gain.std()) or 1.0
    targets = (gain - middle) / spread
    net = perceptron.fit(scale(_features(H, X))[None], targets[None], np.ones((1, len(y))))

    def predict(h: np.ndarray, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = h[:, -1] + middle + spread * net(scale(_features(h, x))[None])[0]
        return found

    return predict


def mlp_held_out(
    H: np.ndarray, X: np.ndarray, y: np.ndarray, steps: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return each trial's prediction by `mlp` fitted without its fold, ``(n,)``: all at once.

    `folds`, ``(f, n)`` bool, says which trials are in a fold; each is in one.
    """
    del steps
    others = ~folds
    rows = _features(H, X)
    gain = y - H[:, -1]
    scales = [_Scaler(rows[rest]) for rest in others]
    middle = np.asarray([gain[rest].mean() for rest in others])
    spread = np.asarray([gain[rest].std() or 1.0 for rest in others])
    Z = np.stack([scale(rows) for scale in scales])
    targets = (gain[None, :] - middle[:, None]) / spread[:, None]
    nets = perceptron.fit(Z, targets, others.astype(np.float64))
    gains = middle[:, None] + spread[:, None] * nets(Z)
    found: np.ndarray = H[:, -1] + gains[folds.argmax(axis=0), np.arange(len(y))]
    return found


CANDIDATES: Final[Mapping[str, Fit]] = {
    "carry": carry,
    "ridge": ridge,
    "power": power,
    "gp": gp,
    "mlp": mlp,
}

HELD_OUT: Final[Mapping[str, HoldOut]] = {"mlp": mlp_held_out}
"""Held-out predictions of candidates that have them cheaper than one fit a fold."""


def _features(h: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.concatenate([_history(h), x], axis=1)


def _history(H: np.ndarray) -> np.ndarray:
    """Return the newest score and the gains that led to it, ``(n, m)``."""
    return np.concatenate([H[:, -1:], np.diff(H, axis=1)], axis=1)


class _Scaler:
    """Standardises columns as the rows that it was made of."""

    def __init__(self, rows: np.ndarray) -> None:
        self._mean = rows.mean(axis=0)
        sd = rows.std(axis=0)
        self._sd = np.where(sd > 1e-12, sd, 1.0)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (rows - self._mean) / self._sd
        return scaled


def _distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    found: np.ndarray = ((A[:, None, :] - B[None, :, :]) ** 2).sum(axis=2)
    return found
