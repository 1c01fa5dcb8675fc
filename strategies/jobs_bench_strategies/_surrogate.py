"""What the model-based strategies ask of a surrogate, whichever engine computes it.

Rows are those of `NativeEncoding` (float64), with one more column for the step where a strategy
models several fidelities. Both engines compute the same Gaussian process: covariances below, priors
of BoTorch (lengthscales scaled with the dimension, Hvarfner et al. 2024), parameters by maximum a
posteriori from a fixed start, so that a fit is a function of the data alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from jobs_bench.space.native import NativeEncoding

Covariance = Literal["product", "paper", "steps", "predicted"]
"""What is modelled.

``product``: Matern-5/2 over square-root weights, floats and integers, times ``exp(-weighted Hamming
distance)`` over categories and flags. ``paper``: a sum of the two and of their product, each with a
scale, over plain weights, as BoTorch's `MixedSingleTaskGP` and JoBS have it. ``steps``: over
(configuration, t), with t in [0, 1], 1 at the horizon, in the last column: a learning curve shared
by all, plus the landscape ``product`` with a deviation that fades towards the horizon, ``1 + v (1 -
t)(1 - t')`` (BoTorch's linear truncated kernel of power 0, with the landscape's lengthscales).
``predicted``: that landscape alone, over predictions of the horizon's score: what they are wrong by
is shared by neighbours and proportional to ``1 - t``.
"""


@dataclass(frozen=True, slots=True)
class LogEI:
    """Logarithm of the expected improvement on a standardised score `best`."""

    best: float


@dataclass(frozen=True, slots=True)
class Ucb:
    """Posterior mean plus ``sqrt(beta)`` standard deviations."""

    beta: float


@dataclass(frozen=True, slots=True, eq=False)
class NoisyEI:
    """Logarithm of the expected improvement on the best of noisy `baseline`, by sampling (qLogNEI).

    Attributes:
        baseline: Rows that were measured, ``(n, d)``.
        pending: Rows in flight and earlier picks of a batch, ``(m, d)``: not believed, integrated
            over.
    """

    baseline: np.ndarray
    pending: np.ndarray


Goal = LogEI | Ucb


class Landscape(Protocol):
    """An acquisition function over the rows of an encoding."""

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return the values at `rows`, ``(n, d)``, in one call; minus infinity where undefined."""
        ...

    def search(self, anchors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return local optima ``(k, d)`` and the raw rows ``(r, d)`` that the search began with.

        Args:
            anchors: Rows of good configurations, ``(a, d)``, to begin around, beside points drawn
                all over the space.
            seed: Of the raw rows, at least 0.
        """
        ...


class Surrogate(Protocol):
    """A fitted Gaussian process; scores in and out are in the task's own unit."""

    @property
    def trouble(self) -> str:
        """Return why the fit failed and the starting parameters stand in, empty if it did not."""
        ...

    @property
    def noise(self) -> float:
        """Return the noise variance in standardised units."""
        ...

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the noise-free score at `X`, ``(n,)`` each."""
        ...

    def joint(self, X: np.ndarray) -> np.ndarray:
        """Return the posterior covariance of the noise-free standardised score, ``(n, n)``."""
        ...

    def best_mean(self, X: np.ndarray) -> float:
        """Return the largest posterior mean among the rows, standardised: the incumbent's value."""
        ...

    def believing(self, X: np.ndarray) -> Surrogate:
        """Return a copy that takes its own posterior mean at `X` for measured.

        The kriging believer (Ginsbourger et al. 2010) for points in flight and earlier picks of a
        batch: their variance goes, the mean stays.
        """
        ...

    def landscape(
        self, goal: Goal, encoding: NativeEncoding, beyond: tuple[float, ...] = ()
    ) -> Landscape:
        """Return an acquisition function over the rows of `encoding`.

        Args:
            goal: Which.
            encoding: Of the configurations.
            beyond: Values of the model's further columns.
        """
        ...


def caveat(model: Surrogate) -> str:
    """Return what a recommendation must say of a failed fit, empty where there is nothing."""
    return f"; the fit failed, so the priors' own process predicts: {model.trouble}" * bool(
        model.trouble
    )
