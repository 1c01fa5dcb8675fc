"""NativeGP against SingleTaskGP of the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import (
    LogExpectedImprovement,
    PosteriorMean,
    UpperConfidenceBound,
)
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.acquisition.knowledge_gradient import (
    qKnowledgeGradient,
    qMultiFidelityKnowledgeGradient,
)
from botorch.acquisition.logei import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.acquisition.max_value_entropy_search import qMaxValueEntropy
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelList, SingleTaskGP
from botorch.models.cost import AffineFidelityCostModel
from botorch.models.model import Model
from botorch.optim.optimize import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.gp.model import NativeGP
from jobs_bench.ops import GpSpec

D, N = 3, 12
SPEC = GpSpec.product("matern52", tuple(range(D)))


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand((*shape, D), generator=torch.Generator().manual_seed(seed)).double()


def outcomes(X: Tensor, m: int = 1) -> Tensor:
    return torch.stack([torch.sin(3 * X[..., 0] + k) + X[..., 1] ** 2 for k in range(m)], dim=-1)


def both(m: int = 1, each: bool = False) -> tuple[NativeGP, SingleTaskGP]:
    """Return our model and BoTorch's, of the same parameters."""
    X = rows(N)
    Y = outcomes(X, m)
    g = torch.Generator().manual_seed(1)
    theta = 0.3 + torch.rand((m, SPEC.size), generator=g).double()
    noise = 0.01 + 0.02 * torch.rand((m, N if each else 1), generator=g).double()
    mean = torch.rand(m, generator=g).double()
    batch = torch.Size([m] if m > 1 else [])
    kernel = ScaleKernel(
        MaternKernel(2.5, ard_num_dims=D, batch_shape=batch), batch_shape=batch
    ).double()
    theirs = SingleTaskGP(
        X, Y, noise.mT if each else None, covar_module=kernel, outcome_transform=None
    )
    shape = (*batch, 1, D)
    kernel.base_kernel.lengthscale = theta[:, :D].reshape(shape)
    kernel.outputscale = theta[:, D].reshape(batch)
    theirs.mean_module.constant.data = mean.reshape(batch)
    if not each:
        theirs.likelihood.noise = noise.reshape(*batch, 1)
    else:
        assert isinstance(theirs.likelihood, FixedNoiseGaussianLikelihood)
    return NativeGP(X, Y, SPEC, theta, noise, mean), theirs.eval()


def assert_same(ours: Any, theirs: Any, X: Tensor, tol: float = 1e-8, **options: Any) -> None:
    slopes = []
    for model in (ours, theirs):
        Z = X.clone().requires_grad_()
        posterior = model.posterior(Z, **options)
        covariance = posterior.distribution.covariance_matrix
        weights = torch.arange(covariance.numel()).reshape(covariance.shape).cos()
        (posterior.mean.sum() + (weights * covariance).sum()).backward()
        assert Z.grad is not None
        slopes.append((posterior.mean.detach(), covariance.detach(), Z.grad))
    for got, want in zip(*slopes, strict=True):
        torch.testing.assert_close(got, want, rtol=tol, atol=tol)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
@pytest.mark.parametrize("q", [1, 3])
def test_posterior_is_botorch_s(m: int, batch: tuple[int, ...], q: int) -> None:
    ours, theirs = both(m)
    X = rows(*batch, q, seed=2)
    assert_same(ours, theirs, X)
    assert_same(ours, theirs, X, observation_noise=True)
    noise = 0.1 + rows(*batch, q, seed=3)[..., :m]
    assert_same(ours, theirs, X, observation_noise=noise)
    posterior = ours.posterior(X)
    assert posterior.mean.shape == (*batch, q, m)
    assert posterior.rsample(torch.Size([5])).shape == (5, *batch, q, m)


def test_noise_of_each_row() -> None:
    ours, theirs = both(each=True)
    assert_same(ours, theirs, rows(4, 2, seed=2))
    assert_same(ours, theirs, rows(4, 1, seed=2))


def test_one_output_of_several_and_a_transform() -> None:
    ours, theirs = both(3)
    X = rows(2, 2, seed=2)
    whole = ours.posterior(X).mean
    torch.testing.assert_close(ours.posterior(X, output_indices=[2]).mean, whole[..., 2:])
    torch.testing.assert_close(ours.subset_output([1, 2]).posterior(X).mean, whole[..., 1:])
    assert ours.subset_output([1]).num_outputs == 1
    weights = torch.tensor([0.2, 0.5, 0.3]).double()
    transform = ScalarizedPosteriorTransform(weights)
    assert_same(ours, theirs, X, posterior_transform=transform)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("each", [False, True])
def test_conditioning_is_factorising_anew(m: int, each: bool) -> None:
    ours, _ = both(m, each)
    X, noise = rows(2, seed=3), torch.full((2, m), 0.03).double()
    more = ours.condition_on_observations(X, outcomes(X, m), noise=noise if each else None)
    anew = NativeGP(
        torch.cat([rows(N), X]),
        outcomes(torch.cat([rows(N), X]), m),
        SPEC,
        ours.theta,
        torch.cat([ours.noise, noise.mT], dim=-1) if each else ours.noise,
        ours.mean,
    )
    for q in (1, 2):
        assert_same(more, anew, rows(4, q, seed=4), 1e-10)
    assert more.train_inputs[0].shape == ((N + 2, D) if m == 1 else (m, N + 2, D))
    assert more.train_targets.shape == ((N + 2,) if m == 1 else (m, N + 2))


def test_gradients_reach_added_rows_and_outcomes() -> None:
    ours, _ = both()

    def value(X: Tensor, Y: Tensor, Z: Tensor) -> Tensor:
        posterior = ours.condition_on_observations(X, Y).posterior(Z)
        return torch.cat([posterior.mean.flatten(), posterior.variance.flatten()])

    X, Y, Z = rows(2, 2, seed=3), torch.rand(3, 2, 2, 1).double(), rows(1, 2, 1, seed=4)
    assert torch.autograd.gradcheck(value, tuple(t.requires_grad_() for t in (X, Y, Z)))


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_fantasies_are_botorch_s(m: int, batch: tuple[int, ...]) -> None:
    ours, theirs = both(m)
    X = rows(*batch, 2, seed=3)
    fantasies = [
        model.fantasize(X, SobolQMCNormalSampler(torch.Size([4]), seed=5))
        for model in (ours, theirs)
    ]
    one, other = fantasies
    assert one.batch_shape == other.batch_shape == (4, *batch)
    assert one.num_outputs == m
    assert one.train_inputs[0].shape == other.train_inputs[0].shape
    assert one.train_targets.shape == other.train_targets.shape
    for q in (1, 2):
        Z = rows(*(4, *batch) if q == 2 else (), q, seed=6)
        for name in ("mean", "variance"):
            got, want = (getattr(f.posterior(Z), name).detach() for f in fantasies)
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)
    empty = ours.fantasize(X[..., :0, :], SobolQMCNormalSampler(torch.Size([4]), seed=5))
    assert empty.batch_shape == (4, *batch)


def test_fantasies_have_the_posterior_s_statistics() -> None:
    ours, _ = both()
    X = rows(1, seed=3)
    many = ours.fantasize(X, SobolQMCNormalSampler(torch.Size([4096]), seed=5))
    drawn = many.train_targets[:, -1]
    posterior = ours.posterior(X, observation_noise=True)
    assert drawn.mean().item() == pytest.approx(posterior.mean.item(), abs=1e-2)
    assert drawn.var().item() == pytest.approx(posterior.variance.item(), rel=1e-2)
    # the tower rule: fantasies average to the present mean
    Z = rows(3, 1, seed=4).unsqueeze(-3)
    means = many.posterior(Z).mean.mean(dim=1)
    torch.testing.assert_close(means, ours.posterior(Z[:, 0]).mean, rtol=0, atol=1e-2)


Make = Callable[[Any], AcquisitionFunction]


def _sampler(n: int) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([n]), seed=7)


def _mf(model: Model) -> AcquisitionFunction:
    def project(X: Tensor) -> Tensor:
        return torch.cat([X[..., :-1], torch.ones_like(X[..., -1:])], dim=-1)

    cost = AffineFidelityCostModel(fidelity_weights={D - 1: 1.0}, fixed_cost=0.5)
    return qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=4,
        sampler=_sampler(4),
        project=project,
        current_value=torch.tensor(0.5).double(),
        cost_aware_utility=InverseCostWeightedUtility(cost),
    )


def _mes(model: Model) -> AcquisitionFunction:
    torch.manual_seed(0)
    return qMaxValueEntropy(model, rows(40, seed=8), num_fantasies=4, num_mv_samples=4)


ACQUISITIONS: dict[str, tuple[int, Make]] = {
    "LogEI": (1, lambda m: LogExpectedImprovement(m, best_f=0.7)),
    "UCB": (1, lambda m: UpperConfidenceBound(m, beta=2.0)),
    "PosteriorMean": (1, PosteriorMean),
    "fixed": (
        1,
        lambda m: FixedFeatureAcquisitionFunction(LogExpectedImprovement(m, 0.7), D, [1], [0.3]),
    ),
    "qLogEI": (2, lambda m: qLogExpectedImprovement(m, 0.7, sampler=_sampler(16))),
    "qLogNEI": (2, lambda m: qLogNoisyExpectedImprovement(m, rows(5), sampler=_sampler(16))),
    "qKG": (4, lambda m: qKnowledgeGradient(m, num_fantasies=3, sampler=_sampler(3))),
    "qMFKG": (5, _mf),
    "qMES": (1, _mes),
}


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_acquisition_functions(name: str) -> None:
    q, make = ACQUISITIONS[name]
    d = D - 1 if name == "fixed" else D
    found = []
    for model in both():
        acquisition = make(model)
        X = rows(3, q, seed=9)[..., :d].contiguous().requires_grad_()
        values = acquisition(X)
        values.sum().backward()
        found.append((values.detach(), X.grad))
    (value, slope), (want, want_slope) = found
    assert value.shape == (3,)
    assert slope is not None
    assert slope.abs().max() > 0
    torch.testing.assert_close(value, want, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slope, want_slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["LogEI", "qLogNEI", "qKG"])
def test_optimize_acqf(name: str) -> None:
    _, make = ACQUISITIONS[name]
    bounds = torch.stack([torch.zeros(D), torch.ones(D)]).double()
    got = []
    for model in both():
        torch.manual_seed(0)
        found, value = optimize_acqf(
            make(model),
            bounds,
            q=2 if name == "qLogNEI" else 1,
            num_restarts=2,
            raw_samples=16,
            options={"maxiter": 30, "seed": 1},
        )
        assert ((found >= 0) & (found <= 1)).all()
        assert value is not None
        got.append(value.item())
    assert got[0] == pytest.approx(got[1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("known", [False, True])
def test_fits_as_botorch_does(known: bool) -> None:
    X = rows(20)
    Y = outcomes(X, 2) + 0.1 * torch.randn(20, 2, generator=torch.Generator().manual_seed(2))
    Y = (Y - Y.mean(0)) / Y.std(0)
    Yvar = torch.full_like(Y, 0.02) if known else None
    kernel = GpSpec.product("rbf", tuple(range(D)))
    ours = NativeGP.fit(X, Y, kernel, train_Yvar=Yvar)
    if known:
        assert ours.noise.shape == (2, 20)
        assert (ours.noise >= 0.02).all()
        return
    theirs = SingleTaskGP(X, Y, outcome_transform=None)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(theirs.likelihood, theirs))
    Z = rows(9, 1, seed=3)
    got: Any = ours.posterior(Z)
    want: Any = theirs.posterior(Z)
    torch.testing.assert_close(got.mean, want.mean.detach(), rtol=0, atol=5e-3)
    torch.testing.assert_close(got.variance, want.variance.detach(), rtol=0.05, atol=1e-4)


def test_a_list_of_models() -> None:
    ours, _ = both(2)
    listed: Any = ModelList(ours.subset_output([0]), ours.subset_output([1]))
    X = rows(3, 2, seed=2)
    torch.testing.assert_close(listed.posterior(X).mean, ours.posterior(X).mean)
    torch.testing.assert_close(listed.posterior(X).variance, ours.posterior(X).variance)


def test_refuses_shapes_that_do_not_fit() -> None:
    X, theta = rows(N), torch.ones(1, SPEC.size).double()
    noise, mean = torch.ones(1, 1).double(), torch.zeros(1).double()
    with pytest.raises(DataError, match=r"train_Y \(11, 1\)"):
        NativeGP(X, outcomes(X)[1:], SPEC, theta, noise, mean)
    with pytest.raises(DataError, match=r"theta \(1, 3\)"):
        NativeGP(X, outcomes(X), SPEC, theta[:, 1:], noise, mean)
    with pytest.raises(DataError, match=r"mean \(2,\)"):
        NativeGP(X, outcomes(X), SPEC, theta, noise, torch.zeros(2).double())
