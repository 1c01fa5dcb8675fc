"""A whole fit against `fit_gpytorch_mll` of BoTorch: the same priors, the same start, one thread.

The two run in turns; the ratio is that of the medians, in ``extra_info`` with the evaluations and
both final losses (minus log posterior over n, BoTorch's own measure).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from jobs_bench import ops
from jobs_bench.ops import GpFidelity, GpPriors, GpSpec, GpTerm

D = 20
NAMES = (18, 19)
REPEATS = {50: 5, 200: 3, 500: 3}


def problem(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows in the unit cube, two of their columns of three values; five columns matter."""
    g = np.random.default_rng(seed)
    X = g.random((n, D))
    X[:, NAMES] = (X[:, NAMES] * 3).astype(int) / 2
    y = np.sin(X[:, :5] * g.uniform(1, 6, 5)).sum(1) + 0.2 * g.normal(size=n) + 0.5 * X[:, 18]
    return torch.from_numpy(X), torch.from_numpy((y - y.mean()) / y.std(ddof=1))


SMOOTH, REST = tuple(range(D)), tuple(range(D - 2))
MODELS: dict[str, tuple[GpSpec, Callable[[Tensor, Tensor], Any]]] = {
    "single": (
        GpSpec.product("rbf", SMOOTH),
        lambda X, y: SingleTaskGP(X, y, outcome_transform=None),
    ),
    "mixed": (
        GpSpec((GpTerm("rbf", REST), GpTerm("rbf", (), NAMES), GpTerm("rbf", REST, NAMES))),
        lambda X, y: MixedSingleTaskGP(X, y, cat_dims=list(NAMES), outcome_transform=None),
    ),
    "fidelity": (
        GpSpec(
            (
                GpTerm("matern52", SMOOTH[:-1]),
                GpTerm("matern52", SMOOTH[:-1], (), (GpFidelity("truncated", D - 1),)),
            )
        ),
        lambda X, y: SingleTaskMultiFidelityGP(
            X, y, data_fidelities=[D - 1], outcome_transform=None
        ),
    ),
}


class Peer:
    """BoTorch's fit from its start, as often as wanted."""

    def __init__(self, build: Callable[[Tensor, Tensor], Any], X: Tensor, y: Tensor) -> None:
        self.build, self.X, self.y = build, X, y
        self.evaluations = 0
        self.loss = self.first = float("nan")

    def __call__(self) -> float:
        """Return the seconds of a fit."""
        model = self.build(self.X, self.y.unsqueeze(-1))
        mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
        self.first = self._loss(mll)
        self.evaluations = 0
        model.forward = self._counted(model.forward)
        begin = time.perf_counter()
        fit_gpytorch_mll(mll)
        taken = time.perf_counter() - begin
        self.loss = self._loss(mll.train())
        return taken

    def _counted(self, forward: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def count(X: Tensor) -> Any:
            self.evaluations += 1
            return forward(X)

        return count

    def _loss(self, mll: ExactMarginalLogLikelihood) -> float:
        with torch.no_grad():
            return -float(mll(mll.model(self.X), self.y))


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.BotorchWarning")
@pytest.mark.filterwarnings("ignore::linear_operator.utils.warnings.NumericalWarning")
@pytest.mark.parametrize(
    ("name", "n"),
    [("single", 50), ("single", 200), ("single", 500), ("mixed", 50), ("fidelity", 50)],
)
def test_whole_fit(benchmark: BenchmarkFixture, name: str, n: int) -> None:
    spec, build = MODELS[name]
    X, y = problem(n)
    priors = GpPriors.botorch(spec)
    peer = Peer(build, X, y)
    theirs = [peer()]

    def before() -> None:
        theirs.append(peer())

    fit = benchmark.pedantic(
        ops.gp_fit, args=(X, y, spec, priors), setup=before, rounds=REPEATS[n], warmup_rounds=0
    )
    start = ops.gp_fit(X, y, spec, priors, max_iter=0)
    assert -float(start.objective) / n == pytest.approx(peer.first, abs=1e-6)  # the same objective
    loss = -float(fit.objective) / n
    assert loss <= peer.loss + 1e-4
    if benchmark.stats is not None:  # None where benchmarks are disabled
        benchmark.extra_info |= {
            "ratio": median(theirs) / benchmark.stats["median"],
            "botorch_s": median(theirs),
            "evaluations": int(fit.evaluations),
            "botorch_evaluations": peer.evaluations,
            "loss": loss,
            "botorch_loss": peer.loss,
        }


@pytest.mark.parametrize("how", ["together", "one_by_one"])
def test_models_and_restarts(benchmark: BenchmarkFixture, how: str) -> None:
    """Nine models, four starts each, n = 50: one call against one call a model."""
    X, _ = problem(50)
    y = torch.stack([problem(50, seed)[1] for seed in range(9)])
    spec, _ = MODELS["single"]
    priors = GpPriors.botorch(spec)
    if how == "together":
        fit = benchmark(ops.gp_fit, X, y, spec, priors, restarts=3)
        benchmark.extra_info["evaluations"] = int(fit.evaluations.sum())
        benchmark.extra_info["threads"] = torch.get_num_threads()
    else:
        benchmark(lambda: [ops.gp_fit(X, row, spec, priors, restarts=3) for row in y])
