"""Strategies that wrap another package: what they hand over is what the package would have seen."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.errors import JobsBenchError
from jobs_bench.runner.machine import Machine
from jobs_bench.space.axes import Float
from jobs_bench.space.configuration import Mixture
from jobs_bench.space.space import Space
from jobs_bench.testing.synthetic import Synthetic, conditional_space, discrete_space, small_space
from jobs_bench_strategies.cmaes import Cmaes, grid
from jobs_bench_strategies.tpe import Tpe, distributions, from_params, to_params

cma_package = pytest.importorskip("cmaes")
optuna = pytest.importorskip("optuna")
Study = Callable[..., Machine]
SPACES = [small_space, conditional_space, discrete_space]


@pytest.mark.parametrize("space", SPACES)
def test_parameters_of_a_configuration_lead_back_to_it(space: Callable[[], Space]) -> None:
    made = space()
    axes = distributions(optuna.distributions, made)
    rng = np.random.default_rng(0)
    for _ in range(50):
        config = made.sample(rng)
        params = to_params(made, config)
        assert params.keys() <= axes.keys()
        missing = {
            name: d.to_external_repr(0)
            if isinstance(d, optuna.distributions.CategoricalDistribution)
            else d.low
            for name, d in axes.items()
            if name not in params
        }
        back = from_params(made, {**params, **missing})
        for name, value in config.items():
            got = back[name]
            if isinstance(value, Mixture):
                assert isinstance(got, Mixture)
                assert all(abs(got[d] - value[d]) < 2e-3 for d in value)
            else:
                assert got == value


def test_tpe_suggests_what_optuna_suggests(study: Study) -> None:
    space = Space((Float("x", -5.0, 10.0), Float("y", 1e-3, 1e1, log=True)))
    task = Synthetic(space=space, noise=0.0)
    machine = study(Tpe(), task, budget="16x")
    trials = [t for t in machine.history if t.points]
    assert len(trials) == 16
    # optuna's own loop, told the same scores, with the seed of the last ask
    seeds: list[int] = []

    class Spy(Tpe):
        def ask(self, n, ctx):  # type: ignore[no-untyped-def]
            seeds.append(ctx.torch_seed)
            return super().ask(n, ctx)

    study(Spy(), task, budget="16x")
    own = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=10, seed=seeds[15] % 2**32),
    )
    axes = distributions(optuna.distributions, space)
    for trial in trials[:15]:
        own.add_trial(
            optuna.trial.create_trial(
                value=trial.points[-1].score.mean,
                params=dict(trial.config),
                distributions=axes,
            )
        )
    assert own.ask(axes).params == pytest.approx(dict(trials[15].config))


def test_cmaes_state_is_the_package_s_after_every_generation(study: Study) -> None:
    space = Space((Float("x", -5.0, 10.0), Float("y", 0.0, 1.0)))
    task = Synthetic(space=space, noise=0.0)
    machine = study(Cmaes(population=4), task, budget="20x")
    trials = list(machine.history)
    assert len(trials) == 20
    bounds, steps = grid(space)
    own = cma_package.CMAwM(
        mean=space.encode(space.default()),
        sigma=0.25,
        bounds=bounds,
        steps=steps,
        population_size=4,
    )
    for g in range(4):
        chosen = trials[4 * g : 4 * g + 4]
        own.tell([(np.asarray(t.notes[0]["cma"]), -t.points[-1].score.mean) for t in chosen])
    strategy = Cmaes(population=4)
    strategy.setup(task.problem("20x"))
    rebuilt = strategy._replay([trials[4 * g : 4 * g + 4] for g in range(4)])
    assert np.array_equal(rebuilt.mean, own.mean)


def test_cmaes_finds_the_optimum_of_a_smooth_function(study: Study) -> None:
    space = Space((Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)))
    task = Synthetic(space=space, noise=0.0, seed=3)
    cmaes = Cmaes()
    study(cmaes, task, budget="60x")
    assert task.limit(cmaes.recommend().config) > -1e-2


def test_grid_keeps_names_apart() -> None:
    bounds, steps = grid(discrete_space())
    # mixture: continuous; num_layers: 4 levels; r: one value; placement: 2 names
    assert steps.tolist() == [0.0, 0.25, 0.0, 0.5]
    assert bounds.tolist() == [[0.0, 1.0], [0.125, 0.875], [0.0, 1.0], [0.25, 0.75]]


@pytest.mark.parametrize(("make", "package"), [(Tpe, "optuna"), (Cmaes, "cmaes")])
def test_says_what_to_install(
    make: Callable[[], object], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(JobsBenchError, match=rf"jobs-bench\[{package}\]"):
        make()


def test_a_generation_without_scores_is_passed_over(study: Study) -> None:
    task = Synthetic(nan_share=1.0)
    machine = study(Cmaes(population=4), task, budget="9x")
    assert len(machine.history) >= 8
