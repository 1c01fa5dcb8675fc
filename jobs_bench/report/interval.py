"""Means of scores with 95 % intervals, and in words where an interval comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from jobs_bench.trial import Value

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: The mean, ``None`` when there is no honest one.
        low: Lower end of the 95 % interval, ``None`` when unknown.
        high: Upper end.
        method: Where the interval comes from.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    method: str = "none"


def over_studies(scores: Sequence[float]) -> Interval:
    """Return the t interval over the scores of two or more studies that differ in their seed.

    It holds for the hidden items as they are: all studies of a task are scored on the same ones.
    """
    n = len(scores)
    mean = math.fsum(scores) / n
    variance = math.fsum((s - mean) ** 2 for s in scores) / (n - 1) / n
    return _interval(mean, variance, n - 1, f"t over {n} study seeds")


def over_oracle(values: Sequence[Value]) -> Interval:
    """Return the interval of a single study from the oracle runs of its recommendation.

    Two sources add up: the hidden items (the mean of the squared standard errors: every run is
    scored on the same items, so more runs do not make it smaller) and, from two runs on, the
    training seeds (variance of their mean). Degrees of freedom after Welch and Satterthwaite.
    """
    k = len(values)
    mean = math.fsum(v.mean for v in values) / k
    parts: list[tuple[float, float]] = []
    names: list[str] = []
    errors = [v for v in values if math.isfinite(v.se)]
    if errors:
        n = min(v.n for v in errors)
        items = math.fsum(v.se**2 for v in errors) / len(errors)
        parts.append((items, n - 1 if n > 1 else math.inf))
        names.append(f"{n} hidden items" if n else "the standard error of the items")
    if k > 1:
        between = math.fsum((v.mean - mean) ** 2 for v in values) / (k - 1) / k
        parts.append((between, k - 1))
        names.append(f"{k} oracle seeds")
    if not parts:
        return Interval(mean)
    total = math.fsum(v for v, _ in parts)
    weight = math.fsum(v**2 / df for v, df in parts)
    df = total**2 / weight if weight > 0 else math.inf
    return _interval(mean, total, df, f"t over {' and '.join(names)}")


def _interval(mean: float, variance: float, df: float, method: str) -> Interval:
    half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, method)
