"""`jobs_bench.ops.gp_kernel` under broadcasting."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jobs_bench.ops import GpSpec, gp_kernel


def covariance(X1: Tensor, X2: Tensor, theta: Tensor, spec: GpSpec) -> Tensor:
    """Return covariances, differentiable once.

    Args:
        X1: Rows, ``(*b1, n, d)``, float64.
        X2: Rows, ``(*b2, m, d)``.
        theta: Parameters of `spec`, ``(*b3, P)``.
        spec: Of the covariance.

    Returns:
        ``(*b, n, m)``, ``*b`` being what the three batch shapes broadcast to.

    Raises:
        DataError: Arguments that do not fit together or are out of range.
    """
    if theta.ndim == 1 and X2.ndim == 2:  # one matrix, whatever the batch
        flat = gp_kernel(X1.reshape(-1, X1.shape[-1]), X2, theta, spec)
        return flat.reshape(*X1.shape[:-1], X2.shape[-2])
    if theta.ndim == 1 and X1.ndim == 2:
        return covariance(X2, X1, theta, spec).mT
    batch = torch.broadcast_shapes(X1.shape[:-2], X2.shape[:-2], theta.shape[:-1])
    size = math.prod(batch)
    A, B = (X.expand(*batch, *X.shape[-2:]).reshape(size, *X.shape[-2:]) for X in (X1, X2))
    each = theta.expand(*batch, -1).reshape(size, -1)
    return gp_kernel(A, B, each, spec).reshape(*batch, X1.shape[-2], X2.shape[-2])


def covariance_of_pairs(X1: Tensor, X2: Tensor, theta: Tensor, spec: GpSpec) -> Tensor:
    """Return the covariance of each row of `X1` with the row of `X2` at its place, ``(*b, n)``.

    Args:
        X1: Rows, ``(*b1, n, d)``.
        X2: As many rows, ``(*b2, n, d)``.
        theta: As in `covariance`.
        spec: Of the covariance.
    """
    return covariance(X1.unsqueeze(-2), X2.unsqueeze(-2), theta.unsqueeze(-2), spec).flatten(-3)
