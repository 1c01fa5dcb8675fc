"""SpecKernel against GPyTorch's own kernels, alone and in their company."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MaternKernel, ProductKernel, RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.gp.covariance import covariance
from jobs_bench.gp.kernel import SpecKernel
from jobs_bench.ops import GpFidelity, GpSpec, GpTerm

FIDELITY = (GpFidelity("decay", 3), GpFidelity("linear_truncated", 3))
SPECS = (
    GpSpec.product("matern52", (0, 1), (2,)),
    GpSpec.product("rbf", (1,), fidelity=FIDELITY, roots=(1,)),
    GpSpec((GpTerm("matern32", (0, 3)), GpTerm("matern12", (1,), (2,), FIDELITY[1:]))),
)


def rows(*shape: int, seed: int = 0) -> Tensor:
    X = torch.rand((*shape, 4), generator=torch.Generator().manual_seed(seed)).double()
    X[..., 2] = (3 * X[..., 2]).floor()
    return X


def random_kernel(spec: GpSpec, batch: tuple[int, ...] = (), seed: int = 1) -> SpecKernel:
    kernel = SpecKernel(spec, batch_shape=torch.Size(batch))
    g = torch.Generator().manual_seed(seed)
    kernel.theta = 0.3 + torch.rand((*batch, spec.size), generator=g).double()
    return kernel


def test_theta_keeps_the_order_of_the_spec() -> None:
    for spec in SPECS:
        kernel = SpecKernel(spec)
        want = torch.arange(1.0, spec.size + 1).double()
        kernel.theta = want
        torch.testing.assert_close(kernel.theta, want)
        assert {n.removeprefix("raw_") for n, _ in kernel.named_parameters()} == {
            p.role for p in spec.parameters
        }
    assert kernel.of_role("outputscale").tolist() == pytest.approx([3.0, spec.size])


@pytest.mark.parametrize("spec", SPECS)
@given(
    theta=st.sampled_from([(), (2,), (3, 2)]),
    left=st.sampled_from([(), (2,), (3, 1), (4, 1, 2)]),
    right=st.sampled_from([(), (1,), (3, 2)]),
    n=st.integers(1, 4),
)
def test_broadcasts_as_torch_does(
    spec: GpSpec, theta: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...], n: int
) -> None:
    kernel = random_kernel(spec, theta)
    X1, X2 = rows(*left, n, seed=2), rows(*right, 3, seed=3)
    got = kernel(X1, X2).to_dense().detach()
    batch = torch.broadcast_shapes(theta, left, right)
    assert got.shape == (*batch, n, 3)
    each = [
        t.expand(*batch, *t.shape[-k:]).reshape(-1, *t.shape[-k:])
        for t, k in ((X1, 2), (X2, 2), (kernel.theta.detach(), 1))
    ]
    for K, a, b, p in zip(got.reshape(-1, n, 3), *each, strict=True):
        torch.testing.assert_close(K, covariance(a, b, p, spec), rtol=1e-13, atol=1e-14)
    X2 = rows(*right, n, seed=4)
    # not by calling it: GPyTorch may take a batch of diagonals for a matrix and cut it
    pairs, full = (kernel.forward(X1, X2, diag=diag).detach() for diag in (True, False))
    torch.testing.assert_close(pairs, full.diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("spec", SPECS)
def test_gradients(spec: GpSpec) -> None:
    kernel = random_kernel(spec)
    X1, X2 = rows(3, seed=2).clamp(0.05, 2), rows(2, 2, seed=3).clamp(0.05, 2)
    X1[:, 2], X2[..., 2] = torch.tensor([0.0, 1.0, 2.0]), 1.0
    names = [n for n, _ in kernel.named_parameters()]

    def value(diag: bool, a: Tensor, b: Tensor, *raw: Tensor) -> Tensor:
        parameters = dict(zip(names, raw, strict=True))
        call: Any = torch.func.functional_call(kernel, parameters, (a, b), {"diag": diag})
        found: Tensor = call if diag else call.to_dense()
        return found

    raw = [p.detach().clone().requires_grad_() for p in kernel.parameters()]
    free = torch.tensor([1.0, 1.0, 0.0, 1.0]).double()  # names have no slope

    def masked(X: Tensor, Z: Tensor) -> Tensor:
        return X * (1 - free) + Z * free

    for diag, left in ((False, X1), (True, X1[:2])):
        a, b = left.clone().requires_grad_(), X2.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda A, B, *r, d=diag, L=left: value(d, masked(L, A), masked(X2, B), *r), (a, b, *raw)
        )


def test_is_the_kernel_it_stands_for() -> None:
    spec = GpSpec.product("matern52", (0, 1), (2,))
    matern = MaternKernel(2.5, ard_num_dims=2, active_dims=(0, 1)).double()
    hamming = CategoricalKernel(ard_num_dims=1, active_dims=(2,)).double()
    theirs = ScaleKernel(ProductKernel(matern, hamming)).double()
    theirs.outputscale = 1.7
    matern.lengthscale, hamming.lengthscale = torch.tensor([0.3, 0.9]), torch.tensor([0.6])
    ours = SpecKernel(spec)
    ours.theta = torch.tensor([0.3, 0.9, 1 / 0.6, 1.7]).double()
    X = rows(6)
    torch.testing.assert_close(ours(X).to_dense(), theirs(X).to_dense(), rtol=1e-6, atol=1e-6)


def _fitted(kernel: Kernel) -> tuple[float, SingleTaskGP]:
    X = rows(24)
    y = (torch.sin(5 * X[:, 0]) + X[:, 1] * (X[:, 2] == 1)).unsqueeze(-1)
    gp = SingleTaskGP(X, (y - y.mean()) / y.std(), covar_module=kernel, outcome_transform=None)
    mll = ExactMarginalLogLikelihood(gp.likelihood, gp)
    fit_gpytorch_mll(mll)
    mll.train()
    value = mll(gp(*gp.train_inputs), gp.train_targets).item()
    return value, gp.eval()


def test_is_fitted_as_gpytorch_s_own() -> None:
    prior, bound = LogNormalPrior(0.0, 1.0), GreaterThan(0.025, transform=None, initial_value=0.5)
    ours = SpecKernel(
        GpSpec.product("rbf", (0, 1)),
        active_dims=(0, 1),
        priors={"lengthscale": prior, "outputscale": GammaPrior(2.0, 0.15)},
        constraints={"lengthscale": bound},
    )
    theirs = ScaleKernel(
        RBFKernel(
            ard_num_dims=2,
            active_dims=(0, 1),
            lengthscale_prior=LogNormalPrior(0.0, 1.0),
            lengthscale_constraint=GreaterThan(0.025, transform=None, initial_value=0.5),
        ),
        outputscale_prior=GammaPrior(2.0, 0.15),
    )
    (a, one), (b, other) = _fitted(ours), _fitted(theirs)
    assert a == pytest.approx(b, abs=1e-4)
    X = rows(9, seed=5)
    with torch.no_grad():
        got, want = one.posterior(X), other.posterior(X)
    torch.testing.assert_close(got.mean, want.mean, rtol=0, atol=1e-2)
    assert ours.lengthscale.detach() == pytest.approx(
        theirs.base_kernel.lengthscale.detach()[0], rel=0.05
    )


def test_inside_a_scale_kernel_and_under_a_posterior_with_gradients() -> None:
    inner = SpecKernel(GpSpec.product("matern52", (0, 1), (2,), roots=(0,)))
    inner.raw_outputscale.requires_grad_(False)
    _, gp = _fitted(ScaleKernel(inner))
    X = rows(3, 2, seed=5).requires_grad_()
    gp.posterior(X).variance.sum().backward()
    assert X.grad is not None
    assert X.grad[..., :2].abs().min() > 0
    assert (X.grad[..., 2:] == 0).all()


def test_a_batch_of_kernels_is_indexed() -> None:
    kernel = random_kernel(SPECS[2], (3,))
    X = rows(4)
    torch.testing.assert_close(kernel[1](X).to_dense(), kernel(X).to_dense()[1])


def test_knows_whether_it_is_stationary() -> None:
    assert SpecKernel(SPECS[0]).is_stationary
    assert not SpecKernel(SPECS[1]).is_stationary


def test_constraints_hold_for_a_role() -> None:
    kernel = SpecKernel(SPECS[0], constraints={"lengthscale": Interval(0.1, 2.0)})
    kernel.raw_lengthscale.data.fill_(50.0)
    assert kernel.lengthscale.tolist() == pytest.approx([2.0, 2.0])


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"priors for power.*lengthscale, weight, outputscale"):
        SpecKernel(SPECS[0], priors={"power": GammaPrior(1.0, 1.0)})
    with pytest.raises(DataError, match="float32"):
        SpecKernel(SPECS[0])(rows(3).float()).to_dense()
    with pytest.raises(DataError, match="last_dim_is_batch"):
        SpecKernel(SPECS[0]).forward(rows(3), rows(3), last_dim_is_batch=True)
