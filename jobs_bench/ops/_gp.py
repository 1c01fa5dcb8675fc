"""Gaussian process regression: covariances, likelihood with all gradients, posterior.

What covariances there are is in `jobs_bench.ops._gp_spec`. Prior mean: a constant. What each
operator computes is in `jobs_bench.ops._gp_reference`, how they are registered in
`jobs_bench.ops._gp_operators`; there is no second derivative.

Every function takes one model, ``theta`` of shape ``(P,)``, or M of them, ``(M, P)``, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import _gp_operators as _gp_operators  # registers them
from jobs_bench.ops._backend import native_backends
from jobs_bench.ops._gp_reference import check_fidelity, check_finite, check_noise, check_theta
from jobs_bench.ops._gp_spec import GpSpec


class GpLikelihood(NamedTuple):
    """What `gp_mll` returns: the value, and its gradients as plain tensors.

    Attributes:
        value: ``()``, log marginal likelihood, differentiable.
        jitter: ``()``, what was added to the diagonal.
        X: ``(n, d)`` gradient, zeros unless asked for; the others in their arguments' shapes.
        y: ``(n,)`` gradient.
        theta: ``(P,)`` gradient.
        noise: Gradient.
        mean: ``()`` gradient.
    """

    value: Tensor
    jitter: Tensor
    X: Tensor
    y: Tensor
    theta: Tensor
    noise: Tensor
    mean: Tensor


class GpState(NamedTuple):
    """A model that has seen its data, for `gp_posterior`; no gradients pass through it.

    Attributes:
        X: ``(1 or M, n, d)``.
        theta: ``(M, P)``.
        mean: ``(M,)``.
        inverse: ``(M, n, n)`` inverse of the Cholesky factor.
        alpha: ``(M, n)`` weights of the posterior mean.
        jitter: ``(M,)``.
        spec: Of the covariance.
        single: One model, given without a leading dimension.
    """

    X: Tensor
    theta: Tensor
    mean: Tensor
    inverse: Tensor
    alpha: Tensor
    jitter: Tensor
    spec: GpSpec
    single: bool


def _fit(name: str, t: Tensor, *shapes: Sequence[int]) -> Tensor:
    """Return `t` if its shape is among `shapes`, -1 being free, else raise `DataError`."""
    if t.dtype != torch.float64:
        raise DataError(f"got {name} of {t.dtype}; wanted torch.float64")
    for shape in shapes:
        if t.ndim == len(shape) and all(w in (-1, g) for g, w in zip(t.shape, shape, strict=True)):
            return t
    wanted = " or ".join(str(tuple(s)) for s in shapes)
    raise DataError(f"got {name} {tuple(t.shape)}; wanted {wanted}")


def _models(theta: Tensor, spec: GpSpec) -> Tensor:
    theta = _fit("theta", theta, (spec.size,), (-1, spec.size))
    return theta.unsqueeze(0) if theta.ndim == 1 else theta


def _rows(name: str, X: Tensor, like: Tensor, spec: GpSpec, d: int = -1) -> Tensor:
    """Return rows with a leading dimension, given parameters `like` ``(P,)`` or ``(M, P)``."""
    shapes = [(-1, d)] if like.ndim == 1 else [(-1, d), (like.shape[0], -1, d)]
    X = _fit(name, X, *shapes)
    if X.shape[-1] < spec.width:
        raise DataError(f"got {name} {tuple(X.shape)}; wanted at least {spec.width} columns")
    return X.unsqueeze(0) if X.ndim == 2 else X


def _check_rows(name: str, X: Tensor, spec: GpSpec) -> None:
    check_finite(**{name: X})
    check_fidelity(name, X, spec)


def _run(op: Any, check: Callable[[], None], *args: object) -> Any:
    """Return what an operator makes of arguments of which `check` raises what is out of range.

    The compiled CPU operators check too, many times faster, but name things less well: theirs is
    left to find that something is wrong, and `check` to say what.
    """
    tensors = [x for x in args if isinstance(x, Tensor)]
    if not (_native_cpu() and all(t.device.type == "cpu" for t in tensors)):
        check()
        return op(*args)
    try:
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return op(*args)
        with torch._C._AutoDispatchBelowAutograd():  # which is Python, and half of a small call
            return op(*args)
    except RuntimeError:
        check()
        raise


@cache
def _native_cpu() -> bool:
    """Return whether the compiled CPU operators are there."""
    return "CPU" in native_backends()


def gp_kernel(X1: Tensor, X2: Tensor, theta: Tensor, spec: GpSpec) -> Tensor:
    """Return covariances, ``(n, m)``, differentiable once.

    Args:
        X1: ``(n, d)``; with M models also ``(M, n, d)``.
        X2: ``(m, d)``, likewise.
        theta: ``(P,)`` or ``(M, P)``: what `GpSpec.parameters` lists.
        spec: Of the covariance.

    Returns:
        ``(n, m)`` or ``(M, n, m)``.

    Raises:
        DataError: Arguments that do not fit together or are out of range.
    """
    models = _models(theta, spec)
    a = _rows("X1", X1, theta, spec)
    b = _rows("X2", X2, theta, spec, a.shape[-1])

    def check() -> None:
        check_theta(models, spec)
        _check_rows("X1", a, spec)
        _check_rows("X2", b, spec)

    out: Tensor = _run(torch.ops.jobs_bench.gp_kernel.default, check, a, b, models, spec.code)
    return out.squeeze(0) if theta.ndim == 1 else out


def _data(
    X: Tensor, y: Tensor, theta: Tensor, noise: Tensor, mean: Tensor, spec: GpSpec
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    models = _models(theta, spec)
    rows = _rows("X", X, theta, spec)
    n, M = rows.shape[1], models.shape[0]
    if theta.ndim == 1:
        _fit("y", y, (n,))
        _fit("noise", noise, (), (n,))
        _fit("mean", mean, ())
        mean = mean.unsqueeze(0)
        noise = noise.reshape(1, -1)
    else:
        _fit("y", y, (n,), (M, n))
        _fit("noise", noise, (M, 1), (M, n))
        _fit("mean", mean, (M,))
    return rows, y.unsqueeze(0) if y.ndim == 1 else y, models, noise, mean


def _check_data(
    X: Tensor, y: Tensor, theta: Tensor, noise: Tensor, mean: Tensor, spec: GpSpec
) -> None:
    check_theta(theta, spec)
    _check_rows("X", X, spec)
    check_finite(y=y, mean=mean)
    check_noise(noise)


def gp_mll(
    X: Tensor,
    y: Tensor,
    theta: Tensor,
    noise: Tensor,
    mean: Tensor,
    spec: GpSpec,
    *,
    x_grad: bool | None = None,
) -> GpLikelihood:
    """Return the log marginal likelihood, a sum over points, and all its gradients.

    Where the covariance is not positive definite, jitter of 1e-10, 1e-8 or 1e-6 times the sum of
    outputscales goes onto its diagonal; the value, the gradients and `GpLikelihood.jitter` say so.

    Args:
        X: ``(n, d)``; with M models also ``(M, n, d)``.
        y: ``(n,)``; with M models also ``(M, n)``.
        theta: ``(P,)`` or ``(M, P)``, see `gp_kernel`.
        noise: ``()`` or ``(n,)`` variances above 0; with M models ``(M, 1)`` or ``(M, n)``.
        mean: ``()``; with M models ``(M,)``.
        spec: Of the covariance.
        x_grad: Compute the gradient to X; by default where X wants one.

    Raises:
        DataError: Arguments that do not fit together or are out of range.
        RuntimeError, DataError: No jitter helps, or the value is not finite.
    """
    args = _data(X, y, theta, noise, mean, spec)
    wanted = X.requires_grad if x_grad is None else x_grad
    op = torch.ops.jobs_bench.gp_mll.default
    out = _run(op, lambda: _check_data(*args, spec), *args, spec.code, wanted)
    value, jitter, gX, gy, gtheta, gnoise, gmean = out
    if theta.ndim > 1:
        return GpLikelihood(value, jitter, gX, gy, gtheta, gnoise, gmean)
    gnoise = gnoise.reshape(noise.shape)
    return GpLikelihood(value[0], jitter[0], gX[0], gy[0], gtheta[0], gnoise, gmean[0])


def gp_condition(
    X: Tensor, y: Tensor, theta: Tensor, noise: Tensor, mean: Tensor, spec: GpSpec
) -> GpState:
    """Return the models after their data; arguments and errors are those of `gp_mll`."""
    rows, y, models, noise, mean = (t.detach() for t in _data(X, y, theta, noise, mean, spec))
    args = rows, y, models, noise, mean
    op = torch.ops.jobs_bench.gp_condition.default
    inverse, alpha, jitter = _run(op, lambda: _check_data(*args, spec), *args, spec.code)
    return GpState(rows, models, mean, inverse, alpha, jitter, spec, theta.ndim == 1)


def gp_posterior(state: GpState, Xq: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the noise-free value, differentiable once in `Xq`.

    Args:
        state: From `gp_condition`.
        Xq: ``(q, d)``; with M models also ``(M, q, d)``.

    Returns:
        ``(q,)`` each; with M models ``(M, q)``. Variances are cut at 0, with gradient 0 there.

    Raises:
        DataError: Rows that do not fit the state or are not finite.
    """
    like = state.theta[0] if state.single else state.theta
    rows = _rows("Xq", Xq, like, state.spec, state.X.shape[-1])
    op = torch.ops.jobs_bench.gp_posterior.default
    X, theta, mean, inverse, alpha = state[:5]
    args = rows, X, theta, mean, inverse, alpha, state.spec.code
    mu, variance, _, _ = _run(op, lambda: _check_rows("Xq", rows, state.spec), *args)
    return (mu[0], variance[0]) if state.single else (mu, variance)
