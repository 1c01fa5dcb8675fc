"""mf_kg and mf_mes: their arithmetic against sampling and BoTorch, their behaviour in studies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.knowledge_gradient import qKnowledgeGradient
from botorch.acquisition.max_value_entropy_search import qLowerBoundMaxValueEntropy
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies._information import bits_about_maximum, knowledge_gradient
from jobs_bench_strategies._mf_value import MfByValue
from jobs_bench_strategies.mf_kg import MfKg
from jobs_bench_strategies.mf_mes import MfMes

Study = Callable[..., Machine]


def _model() -> Any:
    rng = np.random.default_rng(0)
    X = torch.as_tensor(rng.random((12, 2)))
    y = torch.sin(6 * X[:, :1]) + X[:, 1:]
    with torch.no_grad():
        model = SingleTaskGP(X, (y - y.mean()) / y.std(), outcome_transform=None)
        model.likelihood.noise = 0.05
    return model.eval()


def _joint(model: Any, X: torch.Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    with torch.no_grad():
        posterior = model(model.transform_inputs(X))
        noise = float(model.likelihood.noise.mean())
        return posterior.mean.numpy(), posterior.covariance_matrix.numpy(), noise


@pytest.mark.parametrize("seed", range(20))
def test_knowledge_gradient_is_the_expectation_of_the_maximum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, slopes = rng.normal(size=6), rng.normal(size=(3, 6)) * rng.choice([0.1, 1.0, 3.0])
    slopes[:, 3] = slopes[:, 4]  # parallel lines
    z = np.random.default_rng(99).standard_normal(400_000)
    found = knowledge_gradient(mean, slopes)
    for k in range(3):
        sampled = (mean[:, None] + slopes[k][:, None] * z).max(axis=0)
        error = 5 * sampled.std() / np.sqrt(len(z))
        assert found[k] == pytest.approx(sampled.mean() - mean.max(), abs=error + 1e-9)


def test_knowledge_gradient_on_hand_worked_numbers() -> None:
    """Two equal means, one of which moves by Z: ``E max(Z, 0) = phi(0) = 0.39894``."""
    assert knowledge_gradient(np.zeros(2), np.asarray([[0.0, 1.0]])) == pytest.approx(0.3989423)
    assert knowledge_gradient(np.zeros(3), np.ones((1, 3))) == pytest.approx(0.0)


def test_knowledge_gradient_is_that_of_botorch_on_the_same_alternatives() -> None:
    model = _model()
    X = torch.as_tensor(np.random.default_rng(1).random((9, 2)))
    mean, cov, noise = _joint(model, X)
    slopes = cov / np.sqrt(np.diag(cov) + noise)[:, None]
    gains = knowledge_gradient(mean, slopes)
    at = int(gains.argmax())
    ours = float(gains[at])
    sampler = SobolQMCNormalSampler(torch.Size([2048]), seed=0)
    with torch.no_grad():
        fantasy = model.fantasize(X[[at]], sampler=sampler)
        best = fantasy.posterior(X).mean.squeeze(-1).max(dim=-1).values
    assert ours == pytest.approx(float(best.mean() - mean.max()), rel=0.03)
    # and of its acquisition function, given each fantasy's best alternative
    with torch.no_grad():
        picks = fantasy.posterior(X).mean.squeeze(-1).argmax(dim=-1)
        kg = qKnowledgeGradient(
            model, 2048, sampler=sampler, current_value=torch.tensor(mean.max())
        )
        theirs = float(kg(torch.cat([X[[at]], X[picks]]).unsqueeze(0)))
    assert ours == pytest.approx(theirs, rel=0.03)


def test_bits_about_the_maximum_are_those_of_gibbon() -> None:
    model = _model()
    X = torch.as_tensor(np.random.default_rng(2).random((7, 2)))
    mean, cov, noise = _joint(model, X)
    maxima = np.asarray([mean.max() + 0.1, mean.max() + 0.8, mean.max() + 2.0])
    sd = np.sqrt(np.diag(cov))
    correlation = sd / np.sqrt(sd**2 + noise)
    ours = bits_about_maximum(mean, sd, correlation, maxima)
    theirs = qLowerBoundMaxValueEntropy(model, X, num_mv_samples=3, use_gumbel=False)
    theirs.posterior_max_values = torch.as_tensor(maxima).reshape(3, 1)
    with torch.no_grad():
        values = theirs(X.unsqueeze(1)).numpy()
    assert np.argsort(ours).tolist() == np.argsort(values).tolist()
    assert ours == pytest.approx(values, rel=0.02, abs=1e-4)


@pytest.mark.parametrize("make", [MfKg, MfMes])
def test_they_mix_steps_and_go_on_with_trials(study: Study, make: type[MfByValue]) -> None:
    task = Synthetic(seed=2)
    machine = study(make(n_init=4), task, "8x")
    steps = {t.step for t in machine.history}
    assert len(steps) > 1
    assert any(len(t.notes) > 1 for t in machine.history)
    rng = np.random.default_rng(0)
    drawn = [task.truth(task.space.sample(rng)) for _ in range(200)]
    assert machine.recommendation is not None
    assert task.truth(machine.recommendation.config) > np.quantile(drawn, 0.9)


@pytest.mark.parametrize("make", [MfKg, MfMes])
def test_both_engines_run(study: Study, make: type[MfByValue]) -> None:
    machine = study(make(n_init=3, levels=2, engine="botorch"), Synthetic(seed=0), "3x")
    assert len(machine.history) > 3


@pytest.mark.parametrize("make", [MfKg, MfMes])
def test_bad_options_and_tasks_are_refused(make: type[MfByValue]) -> None:
    with pytest.raises(OptionError, match="got eta=1"):
        make(eta=1.0)
    with pytest.raises(OptionError, match="got levels=0"):
        make(levels=0)
    with pytest.raises(CapabilityError, match=f"{make.info.name} needs a task that can resume"):
        make().setup(Synthetic().problem("4x", capabilities=("curves",)))
