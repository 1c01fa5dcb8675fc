"""Likelihood and covariance against BoTorch's and GPyTorch's, gradients and all, in turns.

The peer's likelihood is the closure of ``fit_gpytorch_mll``: forward, priors, and backward to its
raw parameters. Ours is the operator: value and gradients to data, parameters, noise and mean; the
share is that of n^3 operations, which its linear algebra takes at the least, in the rate of a
matrix product. Beside it, the public function with its checks.
"""

from __future__ import annotations

from collections.abc import Callable

import gpytorch
import pytest
import torch
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from botorch.optim.closures import get_loss_closure_with_grads
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from jobs_bench import ops
from jobs_bench.ops import GpFidelity, GpSpec, GpTerm

D = 20
ALL = tuple(range(D))
Race = Callable[..., None]


def rows(n: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    X = torch.rand((n, D), generator=g, dtype=torch.float64)
    return X, torch.randn((n, 1), generator=g, dtype=torch.float64)


def single(n: int) -> tuple[SingleTaskGP, Callable[[], Tensor], GpSpec]:
    model = SingleTaskGP(*rows(n))
    one = torch.ones(1, dtype=torch.float64)

    def theta() -> Tensor:
        return torch.cat([model.covar_module.lengthscale.flatten(), one])

    return model, theta, GpSpec.product("rbf", ALL)


def mixed(n: int) -> tuple[SingleTaskGP, Callable[[], Tensor], GpSpec]:
    X, y = rows(n)
    X[:, 18:] = (X[:, 18:] * 3).floor()
    model = MixedSingleTaskGP(X, y, cat_dims=[18, 19])
    added, product = model.covar_module.kernels
    (smooth, scaled), (smooth2, names2) = added.base_kernel.kernels, product.base_kernel.kernels

    def theta() -> Tensor:
        weights = [0.5 / k.lengthscale.flatten() for k in (scaled.base_kernel, names2)]
        scales = added.outputscale, added.outputscale * scaled.outputscale, product.outputscale
        parts = [smooth.lengthscale, scales[0], weights[0], scales[1]]
        parts += [smooth2.lengthscale, weights[1], scales[2]]
        return torch.cat([t.flatten() for t in parts])

    terms = GpTerm("rbf", ALL[:18]), GpTerm("rbf", (), (18, 19)), GpTerm("rbf", ALL[:18], (18, 19))
    return model, theta, GpSpec(terms)


def fidelity(n: int) -> tuple[SingleTaskGP, Callable[[], Tensor], GpSpec]:
    model = SingleTaskMultiFidelityGP(*rows(n), data_fidelities=[19])
    (kernel,) = model.covar_module.base_kernel.kernels
    plain, biased = kernel.covar_module_unbiased, kernel.covar_module_biased

    def theta() -> Tensor:
        scale = model.covar_module.outputscale
        parts = [plain.lengthscale, scale, biased.lengthscale, kernel.power, scale]
        return torch.cat([t.flatten() for t in parts])

    factor = (GpFidelity("truncated", 19),)
    terms = GpTerm("matern52", ALL[:19]), GpTerm("matern52", ALL[:19], fidelity=factor)
    return model, theta, GpSpec(terms)


CASES = [("single", single, n) for n in (50, 200, 500, 1000)]
CASES += [("mixed", mixed, 50), ("multi-fidelity", fidelity, 50)]


@pytest.mark.parametrize(("name", "make", "n"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
@pytest.mark.parametrize("public", [False, True], ids=["operator", "function"])
def test_likelihood_and_gradient(
    race: Race,
    gemm_rate: float,
    name: str,
    make: Callable[[int], tuple[SingleTaskGP, Callable[[], Tensor], GpSpec]],
    n: int,
    public: bool,
) -> None:
    model, theta, spec = make(n)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    model.likelihood.noise = 0.1
    X, y, noise = model.train_inputs[0], model.train_targets, model.likelihood.noise
    mean = model.mean_module.constant

    # the same number, and the same gradient to every raw parameter, without the priors
    model.zero_grad()
    with gpytorch.settings.fast_computations(False, False, False):
        want = model.likelihood(model.forward(X)).log_prob(y)
    want.backward()
    raw = [p for p in model.parameters() if p.requires_grad]
    wanted = [p.grad.clone() for p in raw if p.grad is not None]
    model.zero_grad()
    got = ops.gp_mll(X, y, theta(), noise.reshape(()), mean.reshape(()), spec)
    got.value.backward()
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=0)
    for g, p in zip(wanted, raw, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-7, atol=1e-8 * float(g.abs().max()))

    one = theta().detach(), noise.detach().reshape(()), mean.detach().reshape(())
    batched = X[None], y[None], one[0][None], one[1].reshape(1, 1), one[2][None]
    op = torch.ops.jobs_bench.gp_mll.default

    def ours() -> object:
        return ops.gp_mll(X, y, *one, spec) if public else op(*batched, spec.code, False)

    closure = get_loss_closure_with_grads(
        mll, {k: p for k, p in mll.named_parameters() if p.requires_grad}
    )
    what = f"likelihood and gradient, {name}, n={n}, {'function' if public else 'operator'}"
    race(
        ours,
        closure,
        what,
        rounds=7 if n == 1000 else 15,
        work=n**3,
        limit=gemm_rate,
        unit="GFLOP/s",
    )


def formula(X: Tensor, ls: Tensor, scale: Tensor) -> Tensor:
    A = X / ls
    squares = (A**2).sum(-1)
    r2 = (squares[:, None] + squares[None, :] - 2.0 * A @ A.T).clamp_min(1e-30)
    r = (5.0 * r2).sqrt()
    return scale * (1.0 + r + (5.0 / 3.0) * r2) * torch.exp(-r)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # what torch.compile imports
@pytest.mark.parametrize("n", [64, 256, 512, 1024, 2048])
@pytest.mark.parametrize("peer", ["gpytorch", "compiled"])
def test_covariance_and_gradient(race: Race, write_rate: float, n: int, peer: str) -> None:
    """Through autograd both, to lengthscales and outputscale; writes of K are the limit."""
    X, _ = rows(n)
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=D)).double()
    ls, scale = (
        kernel.base_kernel.lengthscale.detach().flatten().requires_grad_(),
        kernel.outputscale.detach().requires_grad_(),
    )
    theta = torch.cat([ls, scale.reshape(1)]).detach().requires_grad_()
    g = torch.randn((n, n), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spec = GpSpec.product("matern52", ALL)

    def ours() -> Tensor:
        theta.grad = None
        K = ops.gp_kernel(X, X, theta, spec)
        K.backward(g)
        return K

    compiled = torch.compile(formula, dynamic=False) if peer == "compiled" else None

    def theirs() -> Tensor:
        if compiled is None:
            kernel.zero_grad()
            K: Tensor = kernel(X).to_dense()
        else:
            ls.grad = scale.grad = None
            K = compiled(X, ls, scale)
        K.backward(g)
        return K

    torch.testing.assert_close(ours(), theirs(), rtol=1e-6, atol=1e-9)
    what = f"covariance and gradient, n={n}, against {peer}"
    race(ours, theirs, what, work=8 * n * n, limit=write_rate, unit="GB/s written")
