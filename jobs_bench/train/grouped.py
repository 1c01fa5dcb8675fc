"""One frozen linear module with the low-rank updates of several trials, grouped by rank.

Rows of a trial lie together. Trials of equal rank in a module form a group, whose matrices are
stacked: a group costs four batched products forward and back whatever the number of its trials,
and no adapter is padded to the rank of another (padding to the largest rank was measured to lose).
Gradients of the matrices go straight into the group's own buffers; autograd only carries the
gradient of the activations. What is kept for the backward pass is the input, which modules share,
and a byte for each dropped or kept value; parts of the input are taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

Draw = Callable[[int, float, Tensor], Tensor]
"""From (trial, share, activations of that trial ``(positions, in)``) to what is kept, as bools."""


class Group:
    """Stacked matrices of the ``k`` trials that have one rank in one module.

    Attributes:
        trials: Places of the trials in the pack, ascending.
        down: ``(k, r, in)``, with its gradient and moments, each of that shape.
        up: ``(k, out, r)``, likewise.
        scaling: ``(k, 1, 1)``; the factor that makes up for dropped inputs is in it.
        dropout: Share of each trial, all 0 or all above.
    """

    def __init__(
        self,
        trials: Sequence[int],
        down: Sequence[Tensor],
        up: Sequence[Tensor],
        scaling: Sequence[float],
        dropout: Sequence[float],
    ) -> None:
        self.trials = tuple(trials)
        self.down = torch.stack(list(down))
        self.up = torch.stack(list(up))
        self.down_grad = torch.zeros_like(self.down)
        self.up_grad = torch.zeros_like(self.up)
        made_up = [s / (1 - p) for s, p in zip(scaling, dropout, strict=True)]
        self.scaling = self.down.new_tensor(made_up).view(-1, 1, 1)
        self.dropout = tuple(dropout)
        first, last = self.trials[0], self.trials[-1]
        together = last - first + 1 == len(self.trials)
        self._range = (first, len(self.trials)) if together else None
        self._index = torch.tensor(self.trials, device=self.down.device)

    def take(self, rows: Tensor) -> Tensor:
        """Return this group's part of ``(trials, positions, width)``; a view where it can be."""
        if self._range is None:
            return rows.index_select(0, self._index)
        return rows.narrow(0, *self._range)

    def add_product(self, rows: Tensor, a: Tensor, b: Tensor) -> None:
        """Add ``a b`` to this group's part of `rows`."""
        if self._range is None:
            rows.index_add_(0, self._index, torch.bmm(a, b))
        else:
            rows.narrow(0, *self._range).baddbmm_(a, b)

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Add `values` to this group's part of `rows`."""
        if self._range is None:
            rows.index_add_(0, self._index, values)
        else:
            rows.narrow(0, *self._range).add_(values)


class _Apply(torch.autograd.Function):
    """``y = W x + b + s B A dropout(x)``, each trial with its own ``s``, ``A`` and ``B``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        anchor: Tensor,  # requires a gradient, so that backward is called where x needs none
        module: GroupedLinear,
        trials: int,
        draw: Draw,
    ) -> Tensor:
        del anchor
        y = module.plain(x)
        inputs = x.reshape(trials, -1, x.shape[-1])
        outputs = y.view(trials, -1, y.shape[-1])
        kept: list[Tensor | None] = []
        for group in module.groups:
            part, mask = group.take(inputs), None
            if group.dropout[0]:
                drawn = [
                    draw(t, p, part[i])
                    for i, (t, p) in enumerate(zip(group.trials, group.dropout, strict=True))
                ]
                mask = torch.stack(drawn).view(torch.uint8)  # bools convert seven times as slowly
                part = part * mask.to(part.dtype)
            inner = torch.bmm(part, group.down.mT).mul_(group.scaling)
            group.add_product(outputs, inner, group.up.mT)
            kept += [mask, inner]
        ctx.save_for_backward(x, *kept)
        ctx.module = module
        ctx.trials = trials
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        (dy,) = grads
        module: GroupedLinear = ctx.module
        dy = dy.contiguous()
        down_stream = ctx.needs_input_grad[0]
        dx = torch.matmul(dy, module.weight) if down_stream else None
        into = None if dx is None else dx.view(ctx.trials, -1, dx.shape[-1])
        outputs = dy.view(ctx.trials, -1, dy.shape[-1])
        x, *kept = ctx.saved_tensors
        inputs = x.reshape(ctx.trials, -1, x.shape[-1])
        for i, group in enumerate(module.groups):
            mask, inner = kept[2 * i : 2 * i + 2]
            factors = None if mask is None else mask.to(inputs.dtype)
            part = group.take(inputs)
            part = part if factors is None else part * factors
            out = group.take(outputs)
            torch.bmm(out.mT, inner, out=group.up_grad)
            d_inner = torch.bmm(out, group.up).mul_(group.scaling)
            torch.bmm(d_inner.mT, part, out=group.down_grad)
            if into is None:
                continue
            if factors is None:
                group.add_product(into, d_inner, group.down)
            else:
                group.add(into, torch.bmm(d_inner, group.down).mul_(factors))
        return dx, None, None, None, None


class GroupedLinear:
    """Stands in for the forward of a frozen linear module while a pack is on the model.

    Attributes:
        groups: Of the trials that adapt this module.
    """

    def __init__(self, module: nn.Module, groups: Sequence[Group]) -> None:
        self._module: Any = module
        self._anchor = torch.zeros((), requires_grad=True)
        self.groups = tuple(groups)

    @property
    def weight(self) -> Tensor:
        """Return the frozen matrix, ``(out, in)``."""
        weight: Tensor = self._module.weight
        return weight.T if isinstance(self._module, Conv1D) else weight

    def plain(self, x: Tensor) -> Tensor:
        """Return what the base model's module gives."""
        y: Tensor = type(self._module).forward(self._module, x)
        return y

    def __call__(self, x: Tensor, trials: int, draw: Draw) -> Tensor:
        """Return the outputs of `trials` trials, whose rows lie one trial after the other in `x`.

        Only the first trials of the pack may be in `x`; each group is wholly among them.
        """
        y: Tensor = _Apply.apply(x, self._anchor, self, trials, draw)
        return y
