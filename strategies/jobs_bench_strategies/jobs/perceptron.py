"""A small perceptron, fitted on many weightings of the same rows at once.

One tanh layer under ``1/2 sum_i w_i r_i^2 + alpha/2 |weights|^2`` (biases are free), by the method
of Levenberg and Marquardt (Marquardt 1963). Rows are few and weights many, so each step is solved
in the space of the rows (Woodbury); leave-one-out takes one call, with a weight of 0 for the row
that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

HIDDEN: Final = 8
ALPHA: Final = 1.0
_STEPS = 80
_DAMPING = (
    1e-2  # at first; thrice as much after a step that did not help, a third after one that did
)
_ENOUGH = 1e-6  # relative fall of the loss that ends the fit


@dataclass(frozen=True, slots=True)
class Perceptrons:
    """`b` fitted networks.

    Attributes:
        theta: Parameters, ``(b, p)``: weights ``(d, HIDDEN)`` and ``(HIDDEN,)``, then biases.
        losses: What was minimised, ``(b,)``.
    """

    theta: np.ndarray
    losses: np.ndarray

    def __call__(self, Z: np.ndarray) -> np.ndarray:
        """Return every network's outputs at its own rows: ``(b, n, d)`` to ``(b, n)``."""
        return _forward(self.theta, Z)[0]


def fit(Z: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Perceptrons:
    """Return networks fitted to their own rows.

    Args:
        Z: Standardised features, ``(b, n, d)``.
        targets: ``(b, n)``.
        weights: Of the rows, 0 or 1, ``(b, n)``.
    """
    b, n, d = Z.shape
    rng = np.random.default_rng(0)
    spread = np.sqrt(2.0 / (d + HIDDEN))
    first = rng.uniform(-spread, spread, size=d * HIDDEN)
    last = rng.uniform(-1, 1, size=HIDDEN) * np.sqrt(2.0 / (HIDDEN + 1))
    theta = np.tile(np.concatenate([first, last, np.zeros(HIDDEN + 1)]), (b, 1))
    decay = np.concatenate([np.full((d + 1) * HIDDEN, ALPHA), np.zeros(HIDDEN + 1)])
    root = np.sqrt(weights)

    def loss(at: np.ndarray, out: np.ndarray) -> np.ndarray:
        fitted = (weights * (out - targets) ** 2).sum(axis=1)
        found: np.ndarray = 0.5 * (fitted + (decay * at**2).sum(axis=1))
        return found

    out, hidden = _forward(theta, Z)
    now = loss(theta, out)
    damping = np.full(b, _DAMPING)
    going = np.ones(b, dtype=bool)  # each network ends by itself: neighbours change nothing
    for _ in range(_STEPS):
        J = _jacobian(theta, Z, hidden) * root[:, :, None]
        gradient = (J.mT @ (root * (out - targets))[:, :, None])[:, :, 0] + decay * theta
        inverse = 1.0 / (decay[None, :] + damping[:, None])
        scaled = J * inverse[:, None, :]
        inner = J @ scaled.mT + np.eye(n)
        along = (scaled @ gradient[:, :, None])[:, :, 0]
        solved = np.linalg.solve(inner, along[:, :, None])
        step = inverse * gradient - (scaled.mT @ solved)[:, :, 0]
        tried = theta - step
        tried_out, tried_hidden = _forward(tried, Z)
        then = loss(tried, tried_out)
        better = going & (then < now)
        going = going & ~(better & (now - then < _ENOUGH * now))
        theta = np.where(better[:, None], tried, theta)
        out = np.where(better[:, None], tried_out, out)
        hidden = np.where(better[:, None, None], tried_hidden, hidden)
        now = np.where(better, then, now)
        damping = np.clip(np.where(better, damping / 3, damping * 3), 1e-6, 1e6)
        if not going.any():
            break
    return Perceptrons(theta, now)


def _split(theta: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    first, last, inner, outer = np.split(theta, np.cumsum([d * HIDDEN, HIDDEN, HIDDEN]), axis=1)
    return first.reshape(-1, d, HIDDEN), last, inner, outer


def _forward(theta: np.ndarray, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs ``(b, n)`` and hidden values ``(b, n, HIDDEN)``."""
    first, last, inner, outer = _split(theta, Z.shape[2])
    hidden = np.tanh(Z @ first + inner[:, None, :])
    return (hidden @ last[:, :, None])[:, :, 0] + outer, hidden


def _jacobian(theta: np.ndarray, Z: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return the outputs' derivatives by the parameters, ``(b, n, p)``."""
    b, n, d = Z.shape
    _, last, _, _ = _split(theta, d)
    back = last[:, None, :] * (1 - hidden**2)
    first = (Z[:, :, :, None] * back[:, :, None, :]).reshape(b, n, d * HIDDEN)
    return np.concatenate([first, hidden, back, np.ones((b, n, 1))], axis=2)
