"""A whole suggestion, fit and LogEI optimum, against BoTorch's: fifty problems, one thread.

A mixture of nine and ten numbers in an interval, fifty observations. BoTorch: `fit_gpytorch_mll`,
then `optimize_acqf` with 10 restarts of 512 raw samples under the mixture's equality constraint.
The two take turns, a new problem each; the ratio is that of the medians. That the optimum is at
least as high is asserted on one posterior, BoTorch's fitted one; the timed suggestion has its own.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.optim.optimize import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from jobs_bench import ops
from jobs_bench.ops import Acquisition, Design, GpPriors, GpSpec, GpState

DOMAINS, NUMBERS, N = 9, 10, 50
D = DOMAINS + NUMBERS
DESIGN = Design((0.0,) * D, (1.0,) * D, simplexes=((0, DOMAINS),))
SPECS = {
    "weights": GpSpec.product("rbf", tuple(range(D))),
    "roots": GpSpec.product("rbf", tuple(range(D)), roots=tuple(range(DOMAINS))),
}
PROBLEMS = {"weights": 50, "roots": 10}


def problem(seed: int) -> tuple[Tensor, Tensor]:
    """A bowl around a random mixture and random numbers, an interaction, noise; standardised."""
    g = np.random.default_rng(seed)
    X = np.hstack([g.dirichlet(np.ones(DOMAINS), N), g.random((N, NUMBERS))])
    at, slopes = g.dirichlet(np.full(DOMAINS, 0.7)), g.uniform(0.2, 2.0, D)
    gaps = np.hstack([np.sqrt(X[:, :DOMAINS]) - np.sqrt(at), X[:, DOMAINS:] - g.random(NUMBERS)])
    waves = 0.5 * np.sin(6 * X[:, DOMAINS] + g.random()) * X[:, 1]
    y = -(gaps**2) @ slopes + waves + 0.05 * g.normal(size=N)
    return torch.from_numpy(X), torch.from_numpy((y - y.mean()) / y.std(ddof=1))


class Roots(InputTransform, torch.nn.Module):
    """Takes the square roots of the weights, as `GpSpec.roots` does."""

    def __init__(self) -> None:
        super().__init__()
        self.transform_on_train = self.transform_on_eval = self.transform_on_fantasize = True
        self.is_one_to_many = False

    def transform(self, X: Tensor) -> Tensor:
        out = X.clone()
        out[..., :DOMAINS] = X[..., :DOMAINS].clamp_min(1e-8).sqrt()
        return out


def starts(X: Tensor, mean: Tensor, seed: int) -> Tensor:
    """512 random rows, and 256 around the four observations of the highest posterior mean."""
    return torch.cat([DESIGN.draw(512, seed), DESIGN.draw(256, seed, X[mean.topk(4).indices])])


def suggest(X: Tensor, y: Tensor, spec: GpSpec, priors: GpPriors, seed: int) -> Tensor:
    """Fit and optimise; the whole of it native."""
    fit = ops.gp_fit(X, y, spec, priors)
    state = ops.gp_condition(X, y, fit.theta, fit.noise, fit.mean, spec)
    mean, _ = ops.gp_posterior(state, X)
    acq = Acquisition("log_ei", float(mean.max()))
    rows, _ = ops.optimise_acquisition(state, acq, DESIGN, starts=starts(X, mean, seed))
    return rows[0]


class Peer:
    """BoTorch's suggestion, and both optima on its posterior."""

    def __init__(self, name: str) -> None:
        self.name, self.spec = name, SPECS[name]
        self.seconds: list[float] = []
        self.fit_seconds: list[float] = []
        self.optima: list[tuple[float, float]] = []  # ours, theirs

    def __call__(self, seed: int) -> None:
        X, y = problem(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            begin = time.perf_counter()
            transform = Roots() if self.name == "roots" else None
            model = SingleTaskGP(X, y[:, None], outcome_transform=None, input_transform=transform)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            self.fit_seconds.append(time.perf_counter() - begin)
            with torch.no_grad():
                best = float(model.posterior(X).mean.max())
            row, _ = optimize_acqf(
                LogExpectedImprovement(model, best),
                torch.tensor([DESIGN.low, DESIGN.high], dtype=torch.float64),
                q=1,
                num_restarts=10,
                raw_samples=512,
                equality_constraints=[
                    (torch.arange(DOMAINS), torch.ones(DOMAINS, dtype=torch.float64), 1.0)
                ],
            )
            self.seconds.append(time.perf_counter() - begin)
        state = self._state(model, X, y)
        acq = Acquisition("log_ei", best)
        mean, _ = ops.gp_posterior(state, X)
        _, values = ops.optimise_acquisition(
            state, acq, DESIGN, starts=starts(X, mean, seed + 1000)
        )
        self.optima.append((float(values[0]), float(ops.acquisition(state, row, acq))))

    def _state(self, model: SingleTaskGP, X: Tensor, y: Tensor) -> GpState:
        lengthscales = model.covar_module.lengthscale.detach().flatten()
        theta = torch.cat([lengthscales, lengthscales.new_ones(1)])
        noise, mean = model.likelihood.noise.detach()[0], model.mean_module.constant.detach()
        return ops.gp_condition(X, y, theta, noise, mean, self.spec)

    def counts(self) -> tuple[int, int, int]:
        """Return how often our optimum is higher, equal, lower: to 1e-6 relative, 1e-8 absolute."""
        gaps = [(ours - theirs, max(1e-6 * abs(theirs), 1e-8)) for ours, theirs in self.optima]
        higher, lower = sum(g > t for g, t in gaps), sum(g < -t for g, t in gaps)
        return higher, len(gaps) - higher - lower, lower


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.BotorchWarning")
@pytest.mark.filterwarnings("ignore::linear_operator.utils.warnings.NumericalWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of SciPy's SLSQP, out of bounds by rounding
@pytest.mark.parametrize("name", SPECS)
def test_whole_suggestion(benchmark: BenchmarkFixture, name: str) -> None:
    spec, peer = SPECS[name], Peer(name)
    priors = GpPriors.botorch(spec)
    suggest(*problem(0), spec, priors, 0)  # what the first call of anything costs
    seeds = iter(range(PROBLEMS[name]))

    def before() -> tuple[tuple[Tensor, Tensor, GpSpec, GpPriors, int], dict[str, object]]:
        seed = next(seeds)
        peer(seed)
        return (*problem(seed), spec, priors, seed), {}

    benchmark.pedantic(suggest, setup=before, rounds=PROBLEMS[name], warmup_rounds=0)
    higher, equal, lower = peer.counts()
    if benchmark.stats is not None:  # None where benchmarks are disabled
        benchmark.extra_info |= {
            "what": f"whole suggestion, {name}, n = {N}",
            "ours_ms": 1e3 * benchmark.stats["median"],
            "peer_ms": 1e3 * median(peer.seconds),
            "peer_fit_ms": 1e3 * median(peer.fit_seconds),
            "ratio": median(peer.seconds) / benchmark.stats["median"],
            "ratio_best": min(peer.seconds) / benchmark.stats["min"],
            "optima_higher_equal_lower": [higher, equal, lower],
            "optima": [ours for ours, _ in peer.optima],
            "botorch_optima": [theirs for _, theirs in peer.optima],
        }
    assert lower == 0
