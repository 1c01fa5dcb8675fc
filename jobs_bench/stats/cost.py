"""What a budget went into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over studies, in full-run equivalents, NaN where a study's is unknown.

    Attributes:
        train: Training of trials.
        eval: Scoring of trials for the strategy.
        proxy: Models that are no trials.
        overhead_s: Seconds that the strategy itself took in a study, on the machine that ran it.
    """

    train: float
    eval: float
    proxy: float
    overhead_s: float

    @property
    def spent(self) -> float:
        """Return everything that was charged."""
        return self.train + self.eval + self.proxy


def mean_cost(train: Floats, evaluation: Floats, proxy: Floats, overhead_s: Floats) -> Cost:
    """Return the mean cost of studies, each array `(studies,)`; unknown overheads are left out."""
    known = overhead_s[np.isfinite(overhead_s)]
    seconds = float(known.mean()) if len(known) else float("nan")
    return Cost(float(train.mean()), float(evaluation.mean()), float(proxy.mean()), seconds)
