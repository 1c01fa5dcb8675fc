"""Schemas, shapes and derivatives of the Gaussian process operators; their rules are `_gp`'s.

All arguments have a leading dimension of models, 1 where X or y are shared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobs_bench.ops import _gp_reference as reference
from jobs_bench.ops._backend import lib

_SPEC = "int[] spec"
lib.define(f"gp_kernel(Tensor X1, Tensor X2, Tensor theta, {_SPEC}) -> Tensor")
lib.define(
    f"gp_kernel_backward(Tensor grad, Tensor X1, Tensor X2, Tensor theta, {_SPEC}, bool x_grad)"
    " -> (Tensor, Tensor, Tensor)"
)
_DATA = f"Tensor X, Tensor y, Tensor theta, Tensor noise, Tensor mean, {_SPEC}"
lib.define(
    f"gp_mll({_DATA}, bool x_grad) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
lib.define(f"gp_condition({_DATA}) -> (Tensor, Tensor, Tensor)")
lib.define(
    "gp_posterior(Tensor Xq, Tensor X, Tensor theta, Tensor mean, Tensor inverse, Tensor alpha,"
    f" {_SPEC}) -> (Tensor, Tensor, Tensor, Tensor)"
)
lib.define("gp_lanes(int lanes) -> bool")  # for tests; without a reference
for _name, _plain in (
    ("gp_kernel", reference.covariance),
    ("gp_kernel_backward", reference.covariance_backward),
    ("gp_mll", reference.likelihood),
    ("gp_condition", reference.condition),
    ("gp_posterior", reference.posterior),
):
    lib.impl(_name, _plain, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::gp_kernel", lib=lib)
def _(X1: Tensor, X2: Tensor, theta: Tensor, *_: object) -> Tensor:
    return theta.new_empty((theta.shape[0], X1.shape[1], X2.shape[1]))


@torch.library.register_fake("jobs_bench::gp_kernel_backward", lib=lib)
def _(
    grad: Tensor, X1: Tensor, X2: Tensor, theta: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    M = theta.shape[0]
    gX1, gX2 = (grad.new_empty((M, *X.shape[1:])) for X in (X1, X2))
    return gX1, gX2, theta.new_empty(theta.shape)


@torch.library.register_fake("jobs_bench::gp_mll", lib=lib)
def _(
    X: Tensor, y: Tensor, theta: Tensor, noise: Tensor, mean: Tensor, *_: object
) -> tuple[Tensor, ...]:
    M = theta.shape[0]
    shapes = ((M,), (M,), (M, *X.shape[1:]), (M, y.shape[1]), theta.shape, noise.shape, mean.shape)
    return tuple(theta.new_empty(shape) for shape in shapes)


@torch.library.register_fake("jobs_bench::gp_condition", lib=lib)
def _(X: Tensor, y: Tensor, theta: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    M, n = theta.shape[0], X.shape[1]
    del y
    return theta.new_empty((M, n, n)), theta.new_empty((M, n)), theta.new_empty((M,))


@torch.library.register_fake("jobs_bench::gp_posterior", lib=lib)
def _(Xq: Tensor, X: Tensor, theta: Tensor, *_: object) -> tuple[Tensor, ...]:
    del X
    M, q, d = theta.shape[0], Xq.shape[1], Xq.shape[2]
    return tuple(theta.new_empty(shape) for shape in ((M, q), (M, q), (M, q, d), (M, q, d)))


def _like(grad: Tensor, x: Tensor) -> Tensor:
    """Return a gradient of M models, summed where they share `x`."""
    return grad.sum(0, keepdim=True) if x.shape[0] == 1 and grad.shape[0] != 1 else grad


def _kernel_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:3])
    ctx.spec = inputs[3]


def _kernel_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    X1, X2, theta = ctx.saved_tensors
    op = torch.ops.jobs_bench.gp_kernel_backward.default
    x_grad = any(ctx.needs_input_grad[:2])
    gX1, gX2, gtheta = op(grad, X1, X2, theta, ctx.spec, x_grad)
    return _like(gX1, X1), _like(gX2, X2), gtheta, None


def _mll_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], *output[2:])
    ctx.x_grad = inputs[-1]
    ctx.mark_non_differentiable(*output[1:])


def _mll_backward(ctx: Any, grad: Tensor, *_: object) -> tuple[Tensor | None, ...]:
    X, y, gX, gy, gtheta, gnoise, gmean = ctx.saved_tensors
    if ctx.needs_input_grad[0] and not ctx.x_grad:
        raise RuntimeError("gp_mll: got x_grad=False and an X that wants a gradient")
    g = grad.unsqueeze(-1)
    gX = _like(gX * g.unsqueeze(-1), X) if ctx.x_grad else None
    return gX, _like(gy * g, y), gtheta * g, gnoise * g, gmean * grad, None, None


def _posterior_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], *output[2:])
    ctx.mark_non_differentiable(*output[2:])


def _posterior_backward(
    ctx: Any, mean: Tensor, variance: Tensor, *_: object
) -> tuple[Tensor | None, ...]:
    Xq, mean_x, variance_x = ctx.saved_tensors
    if any(ctx.needs_input_grad[1:]):
        raise RuntimeError("gp_posterior: gradients exist with respect to Xq only")
    grad = mean.unsqueeze(-1) * mean_x + variance.unsqueeze(-1) * variance_x
    return (_like(grad, Xq), *[None] * 6)


def _refuse(*_: object) -> tuple[Tensor | None, ...]:
    raise RuntimeError("got a derivative of an operator that has none; detach its arguments")


for _name, _setup, _backward in (
    ("gp_kernel", _kernel_setup, _kernel_backward),
    ("gp_mll", _mll_setup, _mll_backward),
    ("gp_posterior", _posterior_setup, _posterior_backward),
    ("gp_kernel_backward", None, _refuse),
    ("gp_condition", None, _refuse),
):
    torch.library.register_autograd(
        f"jobs_bench::{_name}", _backward, setup_context=_setup, lib=lib
    )
