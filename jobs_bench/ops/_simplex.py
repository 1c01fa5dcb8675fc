"""The nearest mixture to a row of numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib

_SLACK = 1e-9

lib.define("project_simplex(Tensor rows, Tensor low, Tensor high) -> Tensor")


def reference_project_simplex(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return what `project_simplex` returns; the definition of right.

    The nearest point is ``clip(x - t, low, high)`` for the one shift t at which it sums to 1. The
    sum is piecewise linear and decreasing in t: the piece is found among its sorted breakpoints.
    """
    breaks = torch.cat([rows - low, rows - high], -1).sort(-1).values
    at = (rows.unsqueeze(-2) - breaks.unsqueeze(-1)).clamp(low, high).sum(-1)
    # the last breakpoint at which the sum is still at least 1 begins the piece
    k = ((at >= 1.0).sum(-1, keepdim=True) - 1).clamp(0, breaks.shape[-1] - 2)
    t0, t1 = breaks.gather(-1, k), breaks.gather(-1, k + 1)
    s0, s1 = at.gather(-1, k), at.gather(-1, k + 1)
    flat = s0 == s1
    t = t0 + (s0 - 1.0) / torch.where(flat, 1.0, s0 - s1) * (t1 - t0) * ~flat
    return (rows - t).clamp(low, high)


lib.impl("project_simplex", reference_project_simplex, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::project_simplex", lib=lib)
def _fake(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    del low, high
    return rows.new_empty(rows.shape)


def project_simplex(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return for each row the nearest one that sums to 1 within bounds; not differentiable.

    Args:
        rows: ``(n, k)`` float64.
        low: ``(k,)`` at most 1 in sum.
        high: ``(k,)`` at least `low`, and at least 1 in sum.

    Raises:
        DataError: Shapes or dtypes that do not fit, numbers that are not finite, bounds between
            which nothing sums to 1.
    """
    for name, t, shape in (
        ("rows", rows, (rows.shape[0] if rows.ndim else 0, low.numel())),
        ("low", low, (low.numel(),)),
        ("high", high, (low.numel(),)),
    ):
        if t.dtype != torch.float64 or t.shape != shape or not low.numel():
            raise DataError(f"got {name} {tuple(t.shape)} of {t.dtype}; wanted {shape} of float64")
        if not bool(torch.isfinite(t).all()):
            raise DataError(f"got {name} with {float(t[~torch.isfinite(t)][0])}; wanted finite")
    least, most = float(low.sum()), float(high.sum())
    if bool((low > high).any()) or least > 1 + _SLACK or most < 1 - _SLACK:
        raise DataError(
            f"got bounds that sum to {least:.9g} and {most:.9g}; wanted low <= high, at most 1 and "
            "at least 1"
        )
    out: Tensor = torch.ops.jobs_bench.project_simplex.default(rows.detach(), low, high)
    return out
