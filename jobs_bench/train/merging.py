"""Several low-rank adapters as one: the sum of their updates, exactly.

The update of an adapter is ``s B A``. Factors side by side add products up: with the coefficients c
and the scalings s folded into the left factor, ``[c_1 s_1 B_1, c_2 s_2 B_2] [A_1; A_2]`` is
``sum_i c_i s_i B_i A_i``, at the sum of the ranks. Averaging the factors would not give that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jobs_bench.errors import SpaceError
from jobs_bench.train.low_rank import LowRank, Place


@torch.no_grad()
def merged(parts: Sequence[tuple[LowRank, float]]) -> LowRank:
    """Return the adapter whose update is the sum of the updates times their coefficients.

    Args:
        parts: Adapters of one model, with coefficients. They may differ in rank, in scaling and in
            the modules that they adapt.

    Raises:
        SpaceError: There are none.
    """
    if not parts:
        raise SpaceError("got no adapter; wanted at least one to merge")
    where = dict.fromkeys(place.path for adapter, _ in parts for place in adapter.places)
    places: list[Place] = []
    params: dict[str, torch.Tensor] = {}
    for path in where:
        found = [(a, c, p) for a, c in parts for p in a.places if p.path == path]
        first = found[0][2]
        params[first.up] = torch.cat([a.params[p.up] * (c * p.scaling) for a, c, p in found], 1)
        params[first.down] = torch.cat([a.params[p.down] for a, _, p in found], 0)
        rank = sum(p.rank for _, _, p in found)
        places.append(Place(path, first.down, first.up, rank, 1.0, 0.0))
    return LowRank(parts[0][0].config, tuple(places), params)
