"""Both engines compute the same model, and search the same landscape."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from gpytorch.mlls import ExactMarginalLogLikelihood

from jobs_bench.errors import OptionError
from jobs_bench.ops import GpPriors, GpSpec, gp_condition, gp_kernel, gp_mll
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import Problem
from jobs_bench.testing.synthetic import (
    Synthetic,
    conditional_space,
    discrete_space,
    pool,
    small_space,
)
from jobs_bench_strategies import _gp_botorch, _gp_native
from jobs_bench_strategies._acquire import maximise
from jobs_bench_strategies._engine import EngineName, engine_called
from jobs_bench_strategies._gp_botorch import BotorchSurrogate
from jobs_bench_strategies._gp_native import NativeSurrogate, covariance_of
from jobs_bench_strategies._scaling import Scale, tame
from jobs_bench_strategies._surrogate import Covariance, LogEI, Surrogate, Ucb, caveat

SPACES = (small_space(), conditional_space(), discrete_space())
COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def evidence(
    space: Space, n: int, covariance: Covariance = "product", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and scores of `n` configurations, with a step column where it is modelled."""
    task = Synthetic(space, noise=0.0)
    rng = np.random.default_rng(seed)
    configs = [space.sample(rng) for _ in range(n)]
    rows = NativeEncoding(space).encode_all(configs)
    stepped = covariance in ("steps", "predicted")
    steps = np.resize([1, 9, 81], n) if stepped else np.full(n, 81)
    if stepped:
        t = np.log(steps) / math.log(81)
        rows = np.concatenate([rows, t[:, None]], axis=1)
    seen = np.full(n, 81) if covariance == "predicted" else steps  # predictions hold no trend
    scores = [100 * task.truth(c, int(s)) for c, s in zip(configs, seen, strict=True)]
    return rows, np.asarray(scores)


def fitted(name: str, space: Space, covariance: Covariance = "product", n: int = 30) -> Any:
    return engine_called(name)(*evidence(space, n, covariance), covariance, NativeEncoding(space))


def theta_of(model: Any, covariance: Covariance) -> torch.Tensor:
    """Return the parameters of a BoTorch model in the order of the native covariance."""
    kernel = model.covar_module

    def product(k: Any) -> list[torch.Tensor]:
        matern, hamming = k.kernels
        weights = 1 / (hamming.lengthscale * hamming.lengthscale.numel())
        return [matern.lengthscale.flatten(), weights.flatten()]

    one = torch.ones(1, dtype=torch.float64)
    if covariance == "product":
        parts = [*product(kernel), one]
    elif covariance == "predicted":
        configs, down = kernel.kernels
        parts = [*product(configs), down.v.reshape(1), 0 * one, one]
    elif covariance == "steps":
        trend, landscape = kernel.kernels
        configs, down = landscape.base_kernel.kernels
        parts = [
            trend.base_kernel.lengthscale.flatten(),
            trend.outputscale.reshape(1),
            *product(configs),
            down.v.reshape(1),
            0 * one,
            landscape.outputscale.reshape(1),
        ]
    else:
        nested, both = kernel.kernels
        matern, scaled = nested.base_kernel.kernels
        names = scaled.base_kernel.lengthscale.flatten()
        parts = [
            matern.lengthscale.flatten(),
            nested.outputscale.reshape(1),
            1 / (names * len(names)),
            (nested.outputscale * scaled.outputscale).reshape(1),
            *product(both.base_kernel),
            both.outputscale.reshape(1),
        ]
    return torch.cat(parts).detach()


def believed(priors: GpPriors, numbers: list[float]) -> float:
    """Return the log prior density of parameters."""
    pairs = zip(priors.boxes, numbers, strict=True)
    return math.fsum(box.prior.log_density(x) for box, x in pairs if box.prior is not None)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_native_covariance_and_likelihood_are_those_of_botorch(covariance: Covariance) -> None:
    space = small_space()
    encoding = NativeEncoding(space)
    theirs = fitted("botorch", space, covariance)
    spec, priors = covariance_of(encoding, covariance)
    theta = theta_of(theirs.model, covariance)
    model, X = theirs.model, theirs.X
    inputs = model.transform_inputs(X)
    want = model.covar_module(inputs).to_dense().detach()
    torch.testing.assert_close(gp_kernel(X, X, theta, spec), want, rtol=1e-9, atol=1e-9)
    # the objectives differ by a constant, what the priors over weights and over lengthscales do
    noise, mean = model.likelihood.noise[0].detach(), model.mean_module.constant.detach()
    numbers = [*theta.tolist(), noise.item(), mean.item()]
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    value = gp_mll(X, theirs.y, theta, noise, mean, spec).value.item()
    model.train()
    objective = mll(model(*model.train_inputs), theirs.y).item() * len(theirs.y)
    model.eval()
    k = len(encoding.of_kind("category", "flag"))
    names = sum(p.role == "weight" for p in spec.parameters)
    assert value + believed(priors, numbers) == pytest.approx(
        objective + names * (math.log(k) - 2), abs=1e-6
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_native_fit_is_not_worse(covariance: Covariance) -> None:
    space = small_space()
    spec, priors = covariance_of(NativeEncoding(space), covariance)
    theirs, ours = (fitted(name, space, covariance) for name in ("botorch", "native"))
    found = []
    for theta, noise, mean in (
        (
            theta_of(theirs.model, covariance),
            theirs.model.likelihood.noise[0].detach(),
            theirs.model.mean_module.constant.detach(),
        ),
        (ours.state.theta[0], ours.noise_variance, ours.state.mean[0]),
    ):
        numbers = [*theta.tolist(), noise.item(), mean.item()]
        value = gp_mll(ours.X, ours.y, theta, noise, mean, spec).value.item()
        found.append(value + believed(priors, numbers))
    assert found[1] >= found[0] - 1e-3


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("space", SPACES)
def test_interpolates_and_restores_the_unit(name: EngineName, space: Space) -> None:
    rows, scores = evidence(space, 30)
    model: Surrogate = fitted(name, space)
    mean, sd = model.predict(rows)
    assert np.corrcoef(mean, scores)[0, 1] > 0.98
    assert (sd >= 0).all()
    assert not model.trouble
    assert caveat(model) == ""
    row = rows[:1] * 0.5 + rows[1:2] * 0.5
    believed = model.believing(row)
    assert believed.predict(row)[0] == pytest.approx(model.predict(row)[0], abs=0.5)
    assert believed.predict(row)[1] < model.predict(row)[1]
    assert model.believing(rows[:0]).predict(row) == model.predict(row)
    unit = Scale.of(scores)
    assert model.best_mean(rows) == pytest.approx((mean.max() - unit.mean) / unit.sd)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_joint_agrees_with_predict_and_with_the_other_engine(covariance: Covariance) -> None:
    space = small_space()
    rows, _ = evidence(space, 5, covariance, seed=1)
    ours: Any = fitted("native", space, covariance)
    joint = ours.joint(rows)
    sd = ours.predict(rows)[1] / ours.scale.sd
    np.testing.assert_allclose(np.sqrt(np.diag(joint)), sd, atol=1e-7)
    theirs = fitted("botorch", space, covariance)
    np.testing.assert_allclose(joint, theirs.joint(rows), atol=0.05)
    assert ours.noise == pytest.approx(theirs.noise, rel=0.2)


@pytest.mark.parametrize("goal", [LogEI(1.0), Ucb(4.0)])
def test_landscapes_agree(goal: LogEI | Ucb) -> None:
    space = small_space()
    encoding = NativeEncoding(space)
    theirs = fitted("botorch", space)
    spec, _ = covariance_of(encoding, "product")
    ours = _native_twin(theirs, spec)
    rows, _ = evidence(space, 20, seed=2)
    np.testing.assert_allclose(
        ours.landscape(goal, encoding).values(rows),
        theirs.landscape(goal, encoding).values(rows),
        rtol=1e-6,
        atol=1e-6,
    )


def _native_twin(theirs: BotorchSurrogate, spec: GpSpec) -> NativeSurrogate:
    noise = theirs.model.likelihood.noise[0].detach()
    theta = theta_of(theirs.model, "product")
    mean = theirs.model.mean_module.constant.detach()
    state = gp_condition(theirs.X, theirs.y, theta, noise, mean, spec)
    return NativeSurrogate(theirs.scale, theirs.X, theirs.y, state, noise, "")


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("space", SPACES)
def test_what_is_found_is_realised_and_better_than_chance(name: EngineName, space: Space) -> None:
    encoding = NativeEncoding(space)
    model = fitted(name, space)
    rows, _ = evidence(space, 400, seed=3)
    landscape = model.landscape(Ucb(1.0), encoding)
    anchors = [space.default()]
    found = maximise(landscape, _problem(space), 5, anchors, lambda _: True)
    assert found is not None
    assert space.build(found) == found
    assert landscape.values(encoding.encode_all([found]))[0] >= landscape.values(rows).max() - 1e-9
    assert maximise(landscape, _problem(space), 5, anchors, lambda _: True) == found
    other = maximise(landscape, _problem(space), 5, anchors, lambda c: c != found)
    assert other != found
    assert maximise(landscape, _problem(space), 5, anchors, lambda _: False) is None


def test_native_search_is_not_worse_on_the_same_landscape() -> None:
    for space in SPACES[:2]:
        encoding = NativeEncoding(space)
        theirs = fitted("botorch", space, n=12)
        ours = _native_twin(theirs, covariance_of(encoding, "product")[0])
        goal = LogEI(theirs.best_mean(evidence(space, 12)[0]))
        judge = ours.landscape(goal, encoding)
        values = []
        for landscape in (theirs.landscape(goal, encoding), judge):
            found = maximise(landscape, _problem(space), 1, [space.default()], lambda _: True)
            assert found is not None
            values.append(judge.values(encoding.encode_all([found]))[0])
        assert values[1] >= values[0] - 3e-3, (space.names, values)  # in the logarithm


def _problem(space: Space) -> Problem:
    return Synthetic(space).problem()


@pytest.mark.parametrize("name", ENGINES)
def test_a_pool_is_scored_whole(name: EngineName) -> None:
    space = small_space()
    task = Synthetic(space, candidates=pool(space, 4, 4))
    model = fitted(name, space)
    landscape = model.landscape(Ucb(1.0), NativeEncoding(space))
    found = maximise(landscape, task.problem(), 0, [], lambda _: True)
    assert task.candidates is not None
    values = landscape.values(NativeEncoding(space).encode_all(task.candidates))
    assert found == task.candidates[int(values.argmax())]


def test_the_step_column_is_held() -> None:
    space = small_space()
    encoding = NativeEncoding(space)
    ours: Any = fitted("native", space, "steps")
    theirs: Any = fitted("botorch", space, "steps")
    rows, _ = evidence(space, 6, seed=2)
    for model in (ours, theirs):
        whole = np.concatenate([rows, np.ones((6, 1))], axis=1)
        mean, sd = model.predict(whole)
        want = (mean - model.scale.mean + 2 * sd) / model.scale.sd
        got = model.landscape(Ucb(4.0), encoding, (1.0,)).values(rows)
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", ENGINES)
def test_a_failed_fit_leaves_a_usable_model_and_its_reason(
    name: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise (RuntimeError if name == "native" else ModelFittingError)("no way down")

    monkeypatch.setattr(_gp_native, "gp_fit", fails)
    monkeypatch.setattr(_gp_botorch, "fit_gpytorch_mll", fails)
    space = small_space()
    model = fitted(name, space)
    assert model.trouble == "no way down"
    assert "no way down" in caveat(model)
    rows, scores = evidence(space, 30)
    assert np.corrcoef(model.predict(rows)[0], scores)[0, 1] > 0.8


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [2.0, 2.0 + 1e-15, 2.0], [-1e300, 0.0, 1.0]])
def test_awkward_scores(name: EngineName, scores: list[float]) -> None:
    space = small_space()
    rows = np.repeat(evidence(space, 1)[0], 3, axis=0)
    model = engine_called(name)(rows, np.asarray(scores), "product", NativeEncoding(space))
    assert all(np.isfinite(x).all() for x in model.predict(rows))


def test_a_diverged_score_does_not_swallow_the_scale() -> None:
    scores = np.asarray([-1e9, 0.5, 0.6, 0.7, 0.8])
    assert tame(scores) == pytest.approx([0.6 - 5 * 0.2, 0.5, 0.6, 0.7, 0.8])
    assert tame(np.ones(3)) == pytest.approx(np.ones(3))


def test_refuses_an_engine_that_there_is_not() -> None:
    with pytest.raises(OptionError, match="engine=gpy; wanted one of native, botorch"):
        engine_called("gpy")
