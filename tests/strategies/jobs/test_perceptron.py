"""The perceptron among the predictors: a minimum, found for many weightings at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from jobs_bench_strategies.jobs import perceptron
from jobs_bench_strategies.jobs.perceptron import ALPHA, HIDDEN, Perceptrons


def _data(b: int, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(b, n, d))
    return Z, np.sin(2 * Z[:, :, 0]) + 0.1 * rng.normal(size=(b, n))


def _loss(theta: np.ndarray, Z: np.ndarray, targets: np.ndarray) -> float:
    d = Z.shape[1]
    out = Perceptrons(theta[None], np.zeros(1))(Z[None])[0]
    weights = theta[: (d + 1) * HIDDEN]
    return float(0.5 * ((out - targets) ** 2).sum() + 0.5 * ALPHA * (weights**2).sum())


def test_it_ends_where_no_small_step_helps() -> None:
    """A general minimiser that goes on from there finds next to nothing."""
    Z, targets = _data(3, 20, 4)
    nets = perceptron.fit(Z, targets, np.ones((3, 20)))
    for k in range(3):
        at = _loss(nets.theta[k], Z[k], targets[k])
        assert at == pytest.approx(nets.losses[k])
        on = minimize(_loss, nets.theta[k], args=(Z[k], targets[k]), method="L-BFGS-B")
        assert on.fun > at * (1 - 0.05)
        constant = 0.5 * ((targets[k] - targets[k].mean()) ** 2).sum()
        assert at < 0.8 * constant


def test_a_row_of_weight_zero_and_the_neighbours_change_nothing() -> None:
    Z, targets = _data(4, 12, 3)
    weights = np.ones((4, 12))
    weights[:, 5] = 0
    nets = perceptron.fit(Z, targets, weights)
    moved = Z.copy()
    moved[:, 5] += 100.0
    wild = targets.copy()
    wild[:, 5] = 1e6
    assert perceptron.fit(moved, wild, weights).theta == pytest.approx(nets.theta, abs=1e-8)
    rest = np.arange(12) != 5
    alone = perceptron.fit(Z[2:3, rest], targets[2:3, rest], np.ones((1, 11)))
    assert alone.theta[0] == pytest.approx(nets.theta[2], abs=1e-6)
