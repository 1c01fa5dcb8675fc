"""BOHB's model of good and bad configurations: two kernel density estimates.

Rows are those of `NativeEncoding` in Hellinger coordinates. Densities are products over the
columns: Gaussian for weights, floats and integers, Aitchison and Aitken's (1976) for categories
and flags, with bandwidths by the normal reference rule as in statsmodels' `KDEMultivariate`,
which BOHB's own code uses.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy.stats import truncnorm

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem
from jobs_bench_strategies._drawing import untried
from jobs_bench_strategies._evidence import best_first
from jobs_bench_strategies.rungs._core import ranked
from jobs_bench_strategies.rungs._sampling import Pick, highest_rung, uniform

_NARROWEST = 1e-3


class Kde:
    """Draws configurations that look like the good ones and unlike the bad ones.

    Reference: Falkner et al. 2018 (ICML), algorithm 2: the model is of the highest rung with
    ``d + 3`` scores; the best `top` of them are good; `draws` points are taken around good ones
    with bandwidths widened by `widen`, and the one with the highest ratio of densities is
    tried; a `random_share` is drawn uniformly. What differs: weights are modelled by their
    square roots; on a pool every untried candidate is rated.

    Args:
        top: Share of the scores that is good, ``(0, 1)``.
        draws: Points to choose from.
        widen: Factor on the bandwidths that the points are drawn with.
        random_share: Share of uniform draws.
    """

    def __init__(
        self,
        *,
        top: float = 0.15,
        draws: int = 64,
        widen: float = 3.0,
        random_share: float = 1 / 3,
    ) -> None:
        self.top = top
        self.draws = draws
        self.widen = widen
        self.random_share = random_share

    def __call__(
        self, problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
    ) -> Pick | None:
        """Return the most promising of the points drawn."""
        encoding = NativeEncoding(problem.space)
        fewest = encoding.d + 1
        step = highest_rung(problem, ctx.history, fewest + 2)
        if step is None or ctx.rng.random() < self.random_share:
            return uniform(problem, ctx, taken, until)
        order = ranked(ctx.history, step)
        rows = encoding.hellinger(encoding.encode_all([t.config for t in order]))
        good = Density(encoding, rows[: max(fewest, int(self.top * len(rows)))])
        bad = Density(encoding, rows[-max(fewest, len(rows) - len(good.points)) :])
        if problem.candidates is None:
            drawn = [encoding.decode(x) for x in good.draw(ctx.rng, self.draws, self.widen)]
        else:
            drawn = untried(problem, taken)
        drawn = [c for c in drawn if c not in taken]
        if not drawn:
            return uniform(problem, ctx, taken, until)
        at = encoding.hellinger(encoding.encode_all(drawn))
        return Pick(best_first(drawn, good.log(at) - bad.log(at))[0])


class Density:
    """A product kernel density estimate.

    Args:
        encoding: Of the columns.
        points: ``(n, d)`` in Hellinger coordinates, ``n`` at least 1.
    """

    def __init__(self, encoding: NativeEncoding, points: np.ndarray) -> None:
        self.points = points
        self._columns = encoding.columns
        n, d = points.shape
        spread = points.std(axis=0, ddof=1) if n > 1 else np.zeros(d)
        self.widths = np.maximum(1.06 * spread * n ** (-1 / (4 + d)), _NARROWEST)
        for i in encoding.of_kind("category", "flag"):
            levels = len(self._columns[i].levels)
            self.widths[i] = min(self.widths[i], (levels - 1) / levels)

    def log(self, at: np.ndarray) -> np.ndarray:
        """Return the log density at `at`, ``(q, d)``, as ``(q,)``; a floor keeps it finite."""
        total = np.zeros((len(at), len(self.points)))
        for i, column in enumerate(self._columns):
            gap = at[:, i, None] - self.points[None, :, i]
            width = self.widths[i]
            if column.kind in ("category", "flag"):
                others = max(len(column.levels) - 1, 1)
                with np.errstate(divide="ignore"):
                    total += np.where(gap == 0, np.log1p(-width), np.log(width / others))
            else:
                total -= 0.5 * (gap / width) ** 2 + np.log(width * np.sqrt(2 * np.pi))
        top = total.max(axis=1, keepdims=True)
        top[~np.isfinite(top)] = 0.0
        found: np.ndarray = top[:, 0] + np.log(np.exp(total - top).mean(axis=1) + 1e-300)
        return found

    def draw(self, rng: np.random.Generator, n: int, widen: float) -> np.ndarray:
        """Return `n` rows of the native encoding, each drawn around a point, ``(n, d)``."""
        rows = self.points[rng.integers(len(self.points), size=n)].copy()
        for i, column in enumerate(self._columns):
            at = rows[:, i]
            if column.kind in ("category", "flag"):
                moved = rng.random(n) < self.widths[i]
                rows[:, i] = np.where(moved, rng.choice(column.levels, size=n), at)
                continue
            sd = widen * self.widths[i]
            drawn = truncnorm.rvs((0 - at) / sd, (1 - at) / sd, loc=at, scale=sd, random_state=rng)
            rows[:, i] = np.square(drawn) if column.kind == "weight" else drawn
        return rows
