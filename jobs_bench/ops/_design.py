"""The set that an acquisition function is maximised over.

Rows of d numbers: mixtures whose columns sum to 1, numbers in an interval, columns with levels, and
columns that are searched only beside certain levels of another. The numeric encoding of a search
space, without its names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._simplex import project_simplex

_SLACK = 1e-6  # of sums and bounds
_PERTURBATIONS = (-2.0, -0.5)  # log10 of the range of their scales
_MOVED = 0.3  # share of columns that a perturbation moves, at least two


@dataclass(frozen=True)
class ActiveWhere:
    """`columns` are searched where `column` has one of `levels`, and stay at rest elsewhere."""

    column: int
    levels: tuple[float, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class AtLeast:
    """At least `least` of `columns`, flags of levels 0 and 1, are 1."""

    least: int
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Design:
    """A set of rows.

    Attributes:
        low: d lower bounds.
        high: d upper bounds; a mixture's are its caps.
        simplexes: ``(start, stop)`` of the columns of each mixture; they do not overlap.
        levels: For each column its levels, ascending, empty: any number in its bounds. ``()``: no
            column has levels.
        ordered: Columns whose levels are steps on a scale. Of more than 32 such levels a search
            tries those 1, 2, 4, ... steps away; of others, every one.
        conditions: Parents before their children.
        quotas: Over flags.
        rest: Values of inactive columns; ``()``: the lower bounds.

    Raises:
        DataError: Lengths that differ, columns that do not exist, a set that is empty.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    simplexes: tuple[tuple[int, int], ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    ordered: tuple[int, ...] = ()
    conditions: tuple[ActiveWhere, ...] = ()
    quotas: tuple[AtLeast, ...] = ()
    rest: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        d = len(self.low)
        object.__setattr__(self, "levels", self.levels or ((),) * d)
        object.__setattr__(self, "rest", self.rest or self.low)
        lengths = {len(t) for t in (self.high, self.levels, self.rest)}
        if lengths != {d} or d == 0:
            raise DataError(
                f"got {d} low, {len(self.high)} high, {len(self.levels)} levels, "
                f"{len(self.rest)} rest; wanted one of each for every column"
            )
        self._check_columns()
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise DataError(f"got low={low}, high={high} for column {i}; wanted low <= high")
            if list(self.levels[i]) != sorted(set(self.levels[i])):
                raise DataError(f"got levels {self.levels[i]} for column {i}; wanted ascending")
            if any(not low - _SLACK <= x <= high + _SLACK for x in self.levels[i]):
                raise DataError(
                    f"got levels {self.levels[i]} for column {i}; wanted them in [{low}, {high}]"
                )
        for start, stop in self.simplexes:
            low, high = math.fsum(self.low[start:stop]), math.fsum(self.high[start:stop])
            if min(self.low[start:stop]) < 0 or low > 1 + _SLACK or high < 1 - _SLACK:
                raise DataError(
                    f"got bounds {self.low[start:stop]} and {self.high[start:stop]} for the mixture"
                    f" {start}:{stop}, which sum to {low:.6g} and {high:.6g}; wanted at least 0 "
                    "each, at most 1 and at least 1"
                )

    def _check_columns(self) -> None:
        d, taken = len(self.low), set[int]()
        for start, stop in self.simplexes:
            columns = set(range(start, stop))
            if not 0 <= start < stop <= d or columns & taken:
                raise DataError(
                    f"got simplexes {self.simplexes} of {d} columns; wanted start < stop, apart"
                )
            if any(self.levels[i] for i in columns):
                raise DataError(f"got levels for columns of the mixture {start}:{stop}")
            taken |= columns
        used = [*self.ordered]
        for quota in self.quotas:
            used += quota.columns
            if not 0 <= quota.least <= len(quota.columns):
                raise DataError(
                    f"got at least {quota.least} of columns {quota.columns}; wanted 0 to "
                    f"{len(quota.columns)}"
                )
        for condition in self.conditions:
            used += [condition.column, *condition.columns]
            known = self.levels[condition.column] if 0 <= condition.column < d else ()
            if not set(condition.levels) <= set(known):
                raise DataError(
                    f"got a condition on levels {condition.levels} of column {condition.column}, "
                    f"which has {known}"
                )
            for start, stop in self.simplexes:
                among = set(range(start, stop)) & set(condition.columns)
                if among and len(among) < stop - start:
                    raise DataError(
                        f"got a condition on columns {sorted(among)} of the mixture {start}:{stop};"
                        " wanted all of them or none"
                    )
        if any(not 0 <= i < d for i in used):
            raise DataError(f"got columns {sorted(set(used))}; wanted them in [0, {d})")

    @property
    def d(self) -> int:
        """Return the number of columns."""
        return len(self.low)

    def fix(self, values: Mapping[int, float]) -> Design:
        """Return the rows whose columns have these `values`.

        Raises:
            DataError: A column that does not exist, a value outside it, a mixture left empty.
        """
        low, high, rest = list(self.low), list(self.high), list(self.rest)
        levels = list(self.levels)
        for i, x in values.items():
            if not 0 <= i < self.d or not low[i] - _SLACK <= x <= high[i] + _SLACK:
                there = f"one of [{low[i]}, {high[i]}]" if 0 <= i < self.d else "no such column"
                raise DataError(f"got {x} for column {i} of {self.d}; wanted {there}")
            if levels[i]:
                x = min(levels[i], key=lambda level, x=x: abs(level - x))  # type: ignore[misc]
                levels[i] = (x,)
            low[i] = high[i] = rest[i] = x
        conditions = tuple(
            replace(c, levels=tuple(x for x in c.levels if x in levels[c.column]))
            for c in self.conditions
        )
        return replace(
            self,
            low=tuple(low),
            high=tuple(high),
            rest=tuple(rest),
            levels=tuple(levels),
            conditions=conditions,
        )

    def settle(self, rows: np.ndarray) -> None:
        """Put the inactive columns of `rows`, ``(n, d)``, to rest."""
        off = np.zeros(rows.shape, dtype=bool)
        for c in self.conditions:
            holds = np.isclose(rows[:, c.column, None], list(c.levels), atol=_SLACK).any(axis=1)
            lost = ~holds | off[:, c.column]
            off[np.ix_(lost, np.asarray(c.columns, dtype=np.int64))] = True
        rows[...] = np.where(off, np.asarray(self.rest), rows)

    def draw(self, n: int, seed: int, around: Tensor | None = None) -> Tensor:
        """Return n rows, ``(n, d)``: a function of `seed` alone.

        Mixtures are uniform over their simplex (then moved into their caps), intervals and levels
        uniform. Given rows `around`, ``(k, d)``, they are perturbed in turns instead: mixtures in
        their square roots, by normal steps of scales between 0.01 and 0.3 of the range.
        """
        rng = np.random.default_rng(seed)
        low, high = np.asarray(self.low), np.asarray(self.high)
        if around is None:
            rows = low + (high - low) * rng.random((n, self.d))
            moved = np.ones((n, self.d), dtype=bool)
        else:
            rows = around.detach().numpy()[np.arange(n) % len(around)].copy()
            scale = 10 ** rng.uniform(*_PERTURBATIONS, (n, 1))
            moved = rng.random((n, self.d)) < max(_MOVED, 2 / self.d)
            step = scale * rng.standard_normal((n, self.d))
            for start, stop in self.simplexes:
                rows[:, start:stop] = (np.sqrt(rows[:, start:stop]) + step[:, start:stop]) ** 2
            free = moved & [not any(a <= i < b for a, b in self.simplexes) for i in range(self.d)]
            rows = np.where(free, np.clip(rows + step * (high - low), low, high), rows)
        for i, levels in enumerate(self.levels):
            if levels:
                rows[:, i] = np.where(moved[:, i], rng.choice(levels, n), rows[:, i])
        for start, stop in self.simplexes:
            w = rng.exponential(size=(n, stop - start)) if around is None else rows[:, start:stop]
            spare = 1.0 - low[start:stop].sum()
            w = low[start:stop] + spare * w / w.sum(axis=1, keepdims=True)
            bounds = (torch.from_numpy(b[start:stop].copy()) for b in (low, high))
            rows[:, start:stop] = project_simplex(torch.from_numpy(w), *bounds).numpy()
        for quota in self.quotas:
            columns = np.asarray(quota.columns)
            can = np.asarray([self.high[i] > 0.5 for i in quota.columns])
            order = rng.random((n, len(columns))) - 2.0 * (rows[:, columns] > 0.5) - 1.0 * can
            first = np.argsort(order, axis=1)
            np.put_along_axis(rows, columns[first[:, : quota.least]], 1.0, axis=1)
        self.settle(rows)
        return torch.from_numpy(rows)

    def code(self, roots: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Return what the operator takes: bounds and rest ``(3, d)``, all levels, the structure.

        Mixtures whose columns are all among `roots` are searched in their square roots.
        """
        bounds = torch.tensor([self.low, self.high, self.rest], dtype=torch.float64)
        levels = torch.tensor([x for some in self.levels for x in some], dtype=torch.float64)
        out = [k for i, s in enumerate(self.levels) for k in (len(s), int(i in self.ordered))]
        out.append(len(self.simplexes))
        for start, stop in self.simplexes:
            out += [start, stop, int(set(range(start, stop)) <= set(roots))]
        out.append(len(self.conditions))
        for c in self.conditions:
            where = [self.levels[c.column].index(x) for x in c.levels]
            out += [c.column, len(where), *where, len(c.columns), *c.columns]
        out.append(len(self.quotas))
        for quota in self.quotas:
            out += [quota.least, len(quota.columns), *quota.columns]
        return bounds, levels, out
