"""Scores as surrogates see them: extremes tamed, mean 0, standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scale:
    """The unit of a task's scores.

    Attributes:
        mean: Of the scores.
        sd: Their standard deviation, 1 where they are all alike.
    """

    mean: float
    sd: float

    @classmethod
    def of(cls, scores: np.ndarray) -> Scale:
        """Return the unit of `scores`, ``(n,)`` with n at least 1."""
        spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
        return cls(float(scores.mean()), spread if spread > 1e-12 else 1.0)

    def standardise(self, scores: np.ndarray) -> np.ndarray:
        """Return scores of the task in standard deviations from the mean."""
        return (scores - self.mean) / self.sd

    def restore(self, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return standardised means and deviations in the task's own unit."""
        return mean * self.sd + self.mean, sd * self.sd


def tame(scores: np.ndarray) -> np.ndarray:
    """Return `scores` with extremely bad ones raised to ``median - 5 (max - median)``.

    How bad a bad trial is says nothing about where the good ones are, and a single diverged
    loss would otherwise swallow the whole scale.
    """
    middle, top = float(np.median(scores)), float(scores.max())
    return np.maximum(scores, middle - 5 * (top - middle)) if top > middle else scores.copy()
