from __future__ import annotations

import pytest
import torch
from botorch.models import SingleTaskGP
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench import ops

D = 20


def model(n: int) -> ExactMarginalLogLikelihood:
    g = torch.Generator().manual_seed(0)
    X = torch.rand((n, D), generator=g, dtype=torch.float64)
    y = torch.randn((n, 1), generator=g, dtype=torch.float64)
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=D))
    gp = SingleTaskGP(X, y, covar_module=kernel, outcome_transform=None)
    return ExactMarginalLogLikelihood(gp.likelihood, gp).train()


def fused(mll: ExactMarginalLogLikelihood) -> ops.GpLikelihood:
    gp = mll.model
    kernel = gp.covar_module
    parts = (kernel.base_kernel.lengthscale.flatten(), kernel.outputscale.reshape(1))
    return ops.gp_mll(
        gp.train_inputs[0],
        gp.train_targets,
        torch.cat(parts).detach(),
        gp.likelihood.noise.detach()[0],
        gp.mean_module.constant.detach(),
        ops.GpSpec.product("matern52", tuple(range(D))),
    )


def eager(mll: ExactMarginalLogLikelihood) -> torch.Tensor:
    mll.zero_grad()
    value: torch.Tensor = mll(mll.model(*mll.model.train_inputs), mll.model.train_targets)
    value.backward()
    return value


@pytest.mark.parametrize("n", [50, 200, 500])
@pytest.mark.parametrize("how", ["gp_mll", "botorch"])
def test_likelihood_and_gradient(benchmark: BenchmarkFixture, n: int, how: str) -> None:
    mll = model(n)
    gp = mll.model
    with torch.no_grad():
        want = gp.likelihood(gp(*gp.train_inputs)).log_prob(gp.train_targets)
    torch.testing.assert_close(fused(mll).value, want, rtol=1e-10, atol=0)
    benchmark(fused if how == "gp_mll" else eager, mll)
