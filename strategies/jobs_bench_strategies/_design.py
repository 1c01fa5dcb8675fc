"""The rows of a space's numeric encoding, as the native acquisition search takes them."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from jobs_bench.ops import ActiveWhere, AtLeast, Design
from jobs_bench.space.axes import Categorical, Subset
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.space import Space


def design_of(encoding: NativeEncoding) -> Design:
    """Return the rows that `encoding` gives configurations of its space.

    Floors of mixtures are left out: they make the set a union of faces, and realising a row takes
    care of them. Conditions on an axis that is fixed in the space hold or fail for good.
    """
    space, columns = encoding.space, encoding.columns
    where = {
        axis.name: tuple(i for i, c in enumerate(columns) if c.axis == axis.name)
        for axis in space.axes
    }
    low, high = encoding.bounds.tolist()
    rest = encoding.encode(space.default())
    levels = [column.levels for column in columns]
    conditions = []
    for condition in space.conditions:
        child = where.get(condition.child, ())
        if condition.parent in where:
            parent = space.axis(condition.parent)
            if not isinstance(parent, Categorical):
                continue
            at = tuple(float(parent.choices.index(v)) for v in condition.values)
            conditions.append(ActiveWhere(where[condition.parent][0], at, child))
        elif space.fixed.get(condition.parent) not in condition.values:
            for i in child:
                low[i] = high[i] = rest[i]
                levels[i] = (float(rest[i]),) if levels[i] else ()
    return Design(
        low=tuple(low),
        high=tuple(high),
        simplexes=tuple((s.start, s.stop) for s in encoding.simplex_slices),
        levels=tuple(levels),
        ordered=encoding.of_kind("int"),
        conditions=tuple(conditions),
        quotas=tuple(
            AtLeast(axis.min, where[axis.name])
            for axis in space.axes
            if isinstance(axis, Subset) and axis.min
        ),
        rest=tuple(rest.tolist()),
    )


@lru_cache(maxsize=16)
def widened(space: Space, beyond: tuple[float, ...]) -> Design:
    """Return the rows of a space's `NativeEncoding`, with further columns held at `beyond`."""
    inner = design_of(NativeEncoding(space))
    return dataclasses.replace(
        inner,
        low=(*inner.low, *beyond),
        high=(*inner.high, *beyond),
        levels=(*inner.levels, *((),) * len(beyond)),
        rest=(*inner.rest, *beyond),
    )
