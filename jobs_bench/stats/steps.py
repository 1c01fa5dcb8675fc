"""Step functions of what was spent: a recommendation holds until the next one.

A trace is two arrays `(n,)`: `spent` (full-run equivalents, not decreasing) and `score`, the oracle
score of what is recommended from then on (NaN where no oracle has judged it). Nothing is
interpolated: between two recommendations nothing better was known.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def at(spent: Floats, score: Floats, grid: Floats) -> Floats:
    """Return the trace at the points of `grid`, NaN before its first point.

    Right-continuous: at a point of the trace the new score holds already; of several points with
    the same `spent` the last one.
    """
    index = np.searchsorted(spent, grid, side="right") - 1
    found = np.where(index >= 0, score[np.maximum(index, 0)] if len(score) else math.nan, math.nan)
    return np.asarray(found, dtype=np.float64)


def mean_over(spent: Floats, score: Floats, start: float, stop: float) -> float:
    """Return the area under the trace from `start` to `stop`, divided by ``stop - start``.

    NaN where the trace is unknown anywhere between the two.
    """
    inside = (spent > start) & (spent < stop)
    edges = np.concatenate([[start], spent[inside], [stop]])
    heights = at(spent, score, edges[:-1])
    widths = np.diff(edges)
    return float(np.sum(np.where(widths > 0, heights * widths, 0.0)) / (stop - start))


def time_to(spent: Floats, score: Floats, target: float) -> float:
    """Return what had been spent when the trace first reached `target`; infinite where never."""
    reached = np.flatnonzero(score >= target)
    return float(spent[reached[0]]) if len(reached) else math.inf
