"""The synthetic family: what its dials promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.errors import OptionError
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.task.contract import Evaluator, Task, TaskSetup
from jobs_bench.testing.task_contract import check_task
from jobs_bench_tasks.synthetic.surface import Surface
from jobs_bench_tasks.synthetic.task import STEPS, Synthetic


def _draws(task: Synthetic, n: int, seed: int = 7) -> list[Configuration]:
    rng = np.random.default_rng(seed)
    return [task.space().sample(rng) for _ in range(n)]


def _planted(surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    return surface._random["w0"], surface._random["c0"]


def test_contract(tmp_path: Path) -> None:
    bench = Bench(BenchSpec("synthetic?fail_share=0"))

    def evaluator(task: Task) -> Evaluator:
        return bench.evaluator(tmp_path)

    check_task(lambda: Bench(BenchSpec("synthetic")).task, evaluator)


@pytest.mark.parametrize("correlation", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("instance", [0, 1])
def test_rungs_correlate_as_dialled(correlation: float, instance: int) -> None:
    task = Synthetic(TaskSetup(), correlation=correlation, instance=instance)
    drawn = _draws(task, 2000)
    short = [task.surface.score(c, STEPS[0]) for c in drawn]
    full = [task.surface.score(c, STEPS[-1]) for c in drawn]
    assert pearsonr(short, full).statistic == pytest.approx(correlation, abs=0.08)


def test_correlation_rises_with_the_rung() -> None:
    task = Synthetic(TaskSetup(), correlation=0.4)
    drawn = _draws(task, 500)
    full = [task.surface.score(c, STEPS[-1]) for c in drawn]
    found = [pearsonr([task.surface.score(c, s) for c in drawn], full).statistic for s in STEPS]
    assert found == sorted(found)


@pytest.mark.parametrize("interaction", [0.0, 2.0])
def test_the_optimum_is_where_it_was_planted(interaction: float) -> None:
    surface = Synthetic(TaskSetup(), interaction=interaction).surface
    w0, c0 = _planted(surface)
    assert surface.best_weights(c0) == pytest.approx(w0)
    assert max(surface.limit(c) for c in _draws(Synthetic(TaskSetup()), 500)) < 0.0


def test_interaction_moves_the_best_mixture() -> None:
    for interaction, moved in ((0.0, False), (2.0, True)):
        surface = Synthetic(TaskSetup(), interaction=interaction).surface
        _, c0 = _planted(surface)
        distance = np.abs(surface.best_weights(c0 + 0.3) - surface.best_weights(c0)).sum()
        assert (distance > 0.1) == moved


def test_without_interaction_data_and_configuration_add_up() -> None:
    task = Synthetic(TaskSetup(), interaction=0.0)
    a, b = _draws(task, 2)

    def crossed(data: Configuration, rest: Configuration) -> float:
        mixture = data["mixture"]
        assert isinstance(mixture, Mixture)
        return task.surface.limit(rest.with_({"mixture": mixture}))

    assert crossed(a, a) + crossed(b, b) == pytest.approx(crossed(a, b) + crossed(b, a))


def test_noise_is_what_was_dialled_and_a_function_of_the_seed() -> None:
    task = Synthetic(TaskSetup(), noise=0.1)
    (config,) = _draws(task, 1)
    drawn = [task.surface.noisy(config, [64], seed)[0] for seed in range(2000)]
    assert np.std(drawn) == pytest.approx(task.surface.noise_sd, rel=0.05)
    assert drawn[3] == task.surface.noisy(config, [8, 64], 3)[1]


def test_shares_of_failures_and_costs() -> None:
    task = Synthetic(TaskSetup(), fail_share=0.25, cost_spread=3.0)
    failed = [task.status(c) != "ok" for c in _draws(task, 2000)]
    assert np.mean(failed) == pytest.approx(0.25, abs=0.04)
    low, high = (task.space().default().with_({"r": r}) for r in (1, 256))
    ratio = task.cost(high, 0, 64)[0].flop / task.cost(low, 0, 64)[0].flop
    assert 2.0 < ratio <= 3.0


@pytest.mark.parametrize(
    "spec",
    ["correlation=0", "domains=1", "noise=-1", "cost_spread=0.5", "fail_share=1", "instance=-1"],
)
def test_impossible_dials(spec: str) -> None:
    with pytest.raises(OptionError, match=spec.split("=")[0]):
        Bench(BenchSpec(f"synthetic?{spec}"))


def test_dials_are_in_the_signature() -> None:
    signatures = {
        Synthetic(TaskSetup(), interaction=i, instance=n).signature()
        for i in (0.0, 1.0)
        for n in (0, 1)
    }
    assert len(signatures) == 4
