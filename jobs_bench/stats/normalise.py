"""Normalised scores: 0 is the frozen median of random search, 100 the frozen best known score.

Both ends come from a versioned file, never from the results at hand: that is why adding a method
cannot move another one's score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs_bench.errors import ScaleError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """The frozen scale of one task under one budget.

    Attributes:
        task: Name of the task.
        signature: Of the task; results of another signature are on another scale.
        version: Of the reference file, from 1; rises when the scale is measured anew.
        budget: Full-run equivalents that random search spent, above 0.
        random_median: Median oracle score of what random search recommends: 0 on the scale.
        best_known: Best known oracle score, above `random_median`: 100 on the scale.
        noise_floor: Standard deviation of an oracle score over training seeds, at least 0.

    Raises:
        ScaleError: A number is not finite, or the two ends are not in order.
    """

    task: str
    signature: str
    version: int
    budget: float
    random_median: float
    best_known: float
    noise_floor: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.budget, self.random_median, self.best_known, self.noise_floor)
        if not all(math.isfinite(x) for x in numbers):
            raise ScaleError(f"{self.task}: got {numbers}; wanted finite numbers")
        if self.best_known <= self.random_median or self.budget <= 0 or self.noise_floor < 0:
            raise ScaleError(
                f"{self.task}: got random_median {self.random_median}, best_known "
                f"{self.best_known}, budget {self.budget}, noise_floor {self.noise_floor}; wanted "
                "random_median < best_known, budget > 0, noise_floor >= 0"
            )

    @property
    def span(self) -> float:
        """Return the score between 0 and 100."""
        return self.best_known - self.random_median

    def normalise(self, score: Floats) -> Floats:
        """Return scores of any shape on the scale; nothing is clipped, NaN stays NaN."""
        return 100.0 * (np.asarray(score, dtype=np.float64) - self.random_median) / self.span

    @property
    def tie(self) -> float:
        """Return the noise floor on the scale."""
        return 100.0 * self.noise_floor / self.span
