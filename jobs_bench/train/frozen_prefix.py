"""Rows whose adapters begin higher up go through a layer without autograd.

A trial that leaves the layers below ``k`` alone needs no gradient there. Where it shares a pass
with trials that do, its rows would be carried through the backward pass of those layers for
nothing: the layer is run twice, once with autograd for the rows that need it and once without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SplitLayer:
    """Stands in for the forward of one transformer layer.

    Attributes:
        live: Rows, the first ones, whose gradient flows through this layer; ``None``: all.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._layer: Any = layer
        self.live: int | None = None

    def __call__(self, hidden: Tensor, *args: Any, **options: Any) -> Any:
        """Return what the layer returns."""
        plain = type(self._layer).forward
        rows = len(hidden)
        if self.live is None or self.live >= rows:
            return plain(self._layer, hidden, *args, **options)
        if self.live == 0:
            with torch.no_grad():
                return plain(self._layer, hidden, *args, **options)

        def run(part: slice) -> Any:
            cut = [_cut(a, rows, part) for a in args]
            named = {name: _cut(value, rows, part) for name, value in options.items()}
            return plain(self._layer, hidden[part], *cut, **named)

        upper = run(slice(0, self.live))
        with torch.no_grad():
            lower = run(slice(self.live, rows))
        if isinstance(upper, tuple):
            return (torch.cat([upper[0], lower[0]]), *upper[1:])
        return torch.cat([upper, lower])


def _cut(value: Any, rows: int, part: slice) -> Any:
    """Return the rows of whatever has `rows` of them: masks, positions, pairs of rotations."""
    if isinstance(value, tuple):
        return tuple(_cut(v, rows, part) for v in value)
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows:
        return value[part]
    return value
