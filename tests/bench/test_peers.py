"""What strategies find, against the same methods of Optuna and BoTorch on the same problems.

Branin and Hartmann-6 in the unit cube, with learning curves whose speed depends on the point and
a little noise. Each side has the same budget (in full runs) and its own start; what it recommends
is judged without noise. The difference of log10 regrets, ours less theirs, goes to ``extra_info``
with a 95 % bootstrap interval; a whole interval above 0 fails. ``JOBS_BENCH_PEER_SEEDS`` sets the
number of studies.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from botorch.optim.optimize import optimize_acqf
from botorch.test_functions.synthetic import Branin, Hartmann
from gpytorch.mlls import ExactMarginalLogLikelihood
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import bootstrap

from jobs_bench.budget import Budget, Charge, Ledger
from jobs_bench.fidelity import Fidelity
from jobs_bench.registry.loading import strategy_factory
from jobs_bench.runner.machine import Machine
from jobs_bench.space.axes import Float
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import Problem
from jobs_bench.trial import Outcome, Point, Segment, Value

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

SEEDS = range(int(os.environ.get("JOBS_BENCH_PEER_SEEDS", "20")))
STEPS = (1, 3, 9, 27, 81)
HORIZON = STEPS[-1]
NOISE = 0.01


@dataclass(frozen=True)
class Function:
    """A test function to be minimised, with curves that fall to it."""

    name: str
    dim: int
    optimum: float
    spread: float

    def value(self, x: np.ndarray) -> float:
        """Return the function at ``(dim,)`` coordinates in ``[0, 1]``, over its spread."""
        if self.name == "branin":
            at = torch.as_tensor(x * 15 - np.asarray([5.0, 0.0]), dtype=torch.float64)
            found = Branin().double()(at.unsqueeze(0))
        else:
            found = Hartmann(dim=6).double()(torch.as_tensor(x, dtype=torch.float64).unsqueeze(0))
        return (float(found) - self.optimum) / self.spread

    def score(self, x: np.ndarray, step: int, seed: int) -> float:
        """Return a noisy score at `step`; slow points cross fast ones."""
        rate = 0.3 + 0.7 * _uniform(x.tolist())
        gap = math.pow(0.05 + step / HORIZON, -rate) - math.pow(1.05, -rate)
        noise = np.random.default_rng([seed, step]).normal()
        return -self.value(x) - 0.2 * gap + NOISE * float(noise)

    def regret(self, x: np.ndarray) -> float:
        """Return log10 of what is lost at `x`, with the noise as floor."""
        return math.log10(max(self.value(x), 0.1 * NOISE))


FUNCTIONS = {
    "branin": Function("branin", 2, 0.397887, 50.0),
    "hartmann6": Function("hartmann6", 6, -3.32237, 1.0),
}


def _uniform(key: object) -> float:
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def ours(function: Function, spec: str, runs: int, seed: int) -> float:
    """Return the regret of one of our strategies after `runs` full runs."""
    names = [f"x{i}" for i in range(function.dim)]
    space = Space(tuple(Float(n, 0.0, 1.0, default=0.5) for n in names))

    def at(config: Configuration) -> np.ndarray:
        return np.asarray([config[n] for n in names], dtype=np.float64)

    def run(segment: Segment) -> Outcome:
        steps = [s for s in STEPS if segment.start < s <= segment.until]
        x = at(segment.config)
        points = tuple(
            Point(s, Value(function.score(x, s, segment.seed % 2**31), NOISE, 100)) for s in steps
        )
        share = (segment.until - segment.start) / HORIZON
        return Outcome(segment, "ok", points, (Charge("train", 1, share, 0.0),))

    problem = Problem(
        space=space,
        fidelity=Fidelity(STEPS),
        budget=Budget(runs, "x"),
        cost=lambda _, start, until: (until - start) / HORIZON,
        default=space.default(),
    )
    machine = Machine(strategy_factory(spec)(), problem, Ledger(1.0), seed)
    while not machine.over:
        event = machine.poll()
        if event is None:
            assert machine.awaited is not None
            event = machine.finish(run(machine.awaited))
        machine.apply(event)
    assert machine.recommendation is not None
    return function.regret(at(machine.recommendation.config))


def by_optuna(function: Function, make: Callable[[int], Any], runs: int, seed: int) -> float:
    """Return the regret of an Optuna study: the best trial that was trained to the end."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler, pruner = make(seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    spent = 0
    while spent < runs * HORIZON:
        trial = study.ask()
        x = np.asarray([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(function.dim)])
        before, state = 0, optuna.trial.TrialState.COMPLETE
        score = -math.inf
        for step in STEPS:
            if spent + step - before > runs * HORIZON:
                state = optuna.trial.TrialState.PRUNED
                spent = runs * HORIZON
                break
            spent += step - before
            before = step
            score = function.score(x, step, seed * 10_000 + trial.number)
            trial.report(score, step)
            if step < HORIZON and trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        study.tell(trial, None if state.name == "PRUNED" else score, state=state)
    done = [t for t in study.trials if t.state.name == "COMPLETE"]
    best = max(done or study.trials, key=lambda t: t.value if t.value is not None else -math.inf)
    return function.regret(np.asarray([best.params[f"x{i}"] for i in range(function.dim)]))


def by_botorch(function: Function, runs: int, seed: int) -> float:
    """Return the regret of BoTorch's documented loop: Sobol, then LogEI; best posterior mean."""
    torch.manual_seed(seed)
    bounds = torch.stack([torch.zeros(function.dim), torch.ones(function.dim)]).double()
    X = torch.quasirandom.SobolEngine(function.dim, scramble=True, seed=seed).draw(6).double()

    def told(x: torch.Tensor, number: int) -> float:
        return function.score(x.numpy(), HORIZON, seed * 10_000 + number)

    y = [told(x, i) for i, x in enumerate(X)]
    while True:
        targets = torch.tensor(y, dtype=torch.float64).unsqueeze(-1)
        model = SingleTaskGP(X, targets, outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        if len(y) == runs:
            break
        acquisition = LogExpectedImprovement(model, best_f=targets.max())
        new, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=128)
        y.append(told(new[0], len(y)))
        X = torch.cat([X, new])
    with torch.no_grad():
        best = X[int(model.posterior(X).mean.argmax())]
    found: np.ndarray = best.numpy()
    return function.regret(found)


def _tpe(seed: int) -> tuple[Any, Any]:
    return optuna.samplers.TPESampler(seed=seed), optuna.pruners.NopPruner()


def _hyperband(seed: int) -> tuple[Any, Any]:
    pruner = optuna.pruners.HyperbandPruner(
        min_resource=STEPS[0], max_resource=HORIZON, reduction_factor=3
    )
    return optuna.samplers.RandomSampler(seed=seed), pruner


def _asha(seed: int) -> tuple[Any, Any]:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=STEPS[0], reduction_factor=3)
    return optuna.samplers.RandomSampler(seed=seed), pruner


PEERS: dict[str, tuple[str, int, Callable[[Function, int, int], float]]] = {
    "tpe": ("Optuna TPESampler", 40, lambda f, n, s: by_optuna(f, _tpe, n, s)),
    "hyperband": ("Optuna HyperbandPruner", 25, lambda f, n, s: by_optuna(f, _hyperband, n, s)),
    "asha": ("Optuna SuccessiveHalvingPruner", 25, lambda f, n, s: by_optuna(f, _asha, n, s)),
    "bo": ("BoTorch SingleTaskGP, LogEI", 20, by_botorch),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("spec", PEERS)
def test_quality_against_a_peer(benchmark: BenchmarkFixture, spec: str, function: str) -> None:
    what, runs, peer = PEERS[spec]
    problem = FUNCTIONS[function]
    mine = benchmark.pedantic(
        lambda: np.asarray([ours(problem, spec, runs, seed) for seed in SEEDS]), rounds=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        theirs = np.asarray([peer(problem, runs, seed) for seed in SEEDS])
    found = bootstrap(
        (mine, theirs),
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        rng=np.random.default_rng(0),
        method="percentile",
        n_resamples=9999,
    ).confidence_interval
    benchmark.extra_info.update(
        what=f"{spec} against {what} on {function}, {runs} full runs, {len(mine)} seeds",
        strategy=spec,
        peer=what,
        function=function,
        runs=runs,
        seeds=len(mine),
        ours=float(mine.mean()),
        theirs=float(theirs.mean()),
        difference=float(mine.mean() - theirs.mean()),
        low=float(found.low),
        high=float(found.high),
    )
    assert found.low <= 0.0, f"{spec} is worse than {what} on {function}: {found}"
