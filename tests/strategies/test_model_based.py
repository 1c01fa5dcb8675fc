"""bo, mf_bo, jobs_paper: do they find what was planted, and pay for what they use?"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from jobs_bench.errors import CapabilityError, OptionError, UnknownNameError
from jobs_bench.fidelity import Fidelity
from jobs_bench.runner.machine import Machine
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import Strategy
from jobs_bench.testing.synthetic import Synthetic, conditional_space, pool, small_space
from jobs_bench_strategies.bo import Bo
from jobs_bench_strategies.jobs_paper import JobsPaper
from jobs_bench_strategies.mf_bo import MfBo
from jobs_bench_strategies.random import Random

Study = Callable[..., Machine]


def _regret(machine: Machine, task: Synthetic) -> float:
    assert machine.recommendation is not None
    return -task.limit(machine.recommendation.config)


def test_bo_beats_random(study: Study) -> None:
    regrets: dict[str, list[float]] = {"bo": [], "random": []}
    for seed in range(3):
        task = Synthetic(seed=seed)
        regrets["bo"].append(_regret(study(Bo(n_init=4), task, "10x", seed=seed), task))
        regrets["random"].append(_regret(study(Random(), task, "10x", seed=seed), task))
    assert np.median(regrets["bo"]) < 0.6 * np.median(regrets["random"]), regrets


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bo(n_init=4, acquisition="ucb"),
        lambda: Bo(n_init=4, acquisition="ucb", engine="botorch"),
        lambda: Bo(n_init=4, acquisition="noisy_ei", engine="botorch"),
    ],
)
def test_bo_by_other_acquisitions(study: Study, make: Callable[[], Bo]) -> None:
    """They find what random search of the same budget does not, and batches do not repeat."""
    task = Synthetic(seed=1)
    machine = study(make(), task, "8x", workers=2, seed=1)
    configs = [t.config for t in machine.history]
    assert len(set(configs)) == len(configs)
    assert _regret(machine, task) < _regret(study(Random(), task, "8x", workers=2, seed=1), task)


def test_bo_refuses_acquisitions_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="no acquisition named 'ei'"):
        Bo(acquisition="ei")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="got acquisition=noisy_ei with engine=native"):
        Bo(acquisition="noisy_ei")
    with pytest.raises(OptionError, match="got beta=0"):
        Bo(acquisition="ucb", beta=0.0)


def test_bo_starts_with_the_default_recipe(study: Study) -> None:
    task = Synthetic()
    machine = study(Bo(), task, "2x")
    assert machine.history[0].config == task.space.default()


def test_bo_in_a_batch_proposes_different_points(study: Study) -> None:
    machine = study(Bo(n_init=2), Synthetic(), "8x", workers=4)
    configs = [t.config for t in machine.history]
    assert len(set(configs)) == len(configs)


def test_bo_scores_the_pool(study: Study) -> None:
    task = Synthetic(candidates=pool(small_space(), 5, 5))
    machine = study(Bo(n_init=4), task, "12x")
    assert _regret(machine, task) <= 0.02


def test_mf_bo_mixes_steps_and_grounds_its_incumbent(study: Study) -> None:
    task = Synthetic(seed=1)
    machine = study(MfBo(n_init=4), task, "3x")
    steps = {t.step for t in machine.history}
    assert 81 in steps
    assert len(steps) > 1
    assert machine.recommendation is not None
    assert machine.recommendation.trial_id is not None
    assert machine.history[machine.recommendation.trial_id].step == 81


def test_jobs_paper_charges_pilots_and_short_runs(study: Study) -> None:
    # every segment of this space costs the same: 4 x 1 + 6 x 1/6 = 5
    task = Synthetic(space=_flat_space(), fidelity=Fidelity((25, 50, 100, 300, 600)))
    machine = study(JobsPaper(n_pilot=4, short=0.17, epochs=20), task, "5x")
    phases = [t.notes[0]["phase"] for t in machine.history]
    assert phases == ["pilot"] * 4 + ["short"] * 6
    assert {t.step for t in machine.history if t.notes[0]["phase"] == "short"} == {100}
    assert machine.spent == pytest.approx(5.0)
    assert machine.recommendation is not None
    assert "posterior mean" in machine.recommendation.reason


def test_jobs_paper_waits_for_all_pilots(study: Study) -> None:
    task = Synthetic(space=_flat_space(), fidelity=Fidelity((25, 50, 100, 300, 600)))
    machine = study(JobsPaper(n_pilot=3, short=0.17, epochs=5), task, "3.5x", workers=2)
    assert [t.notes[0]["phase"] for t in machine.history][:3] == ["pilot"] * 3
    assert machine.spent == pytest.approx(3.5, abs=0.17)


def _flat_space() -> Space:
    space = small_space()
    return Space(tuple(a for a in space.axes if a.name != "r"))


@pytest.mark.parametrize(("budget", "pilots"), [("50x", 20), ("16x", 8), ("1x", 1)])
def test_jobs_paper_derives_the_pilots(budget: str, pilots: int) -> None:
    strategy = JobsPaper()
    strategy.setup(Synthetic().problem(budget))
    assert strategy._n_pilot == pilots


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "budget"),
    [
        (Bo(n_init=2, engine="botorch"), "4x"),
        (MfBo(n_init=2, levels=2, engine="botorch"), "2x"),
        (JobsPaper(n_pilot=2, epochs=5, engine="botorch"), "2.2x"),
    ],
    ids=["bo", "mf_bo", "jobs_paper"],
)
def test_the_other_engine_runs_whole_studies(strategy: Strategy, budget: str, study: Study) -> None:
    machine = study(strategy, Synthetic(seed=1), budget)
    assert machine.recommendation is not None
    assert "posterior mean" in machine.recommendation.reason


_UNBUILT = r"""
import sys
sys.modules["jobs_bench._C"] = None
from jobs_bench.ops import backend_record
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.runner.machine import Machine
from jobs_bench_strategies.bo import Bo
task = Synthetic()
machine = Machine(Bo(n_init=2), task.problem("4x"), task.ledger(), 0)
while not machine.over:
    machine.apply(machine.poll() or machine.finish(task.run(machine.awaited)))
print(backend_record())
print(*(t.config for t in machine.history), sep="\n")
"""


@pytest.mark.slow
def test_works_where_nothing_was_compiled_and_the_record_says_so(study: Study) -> None:
    # also where a test run requires the native kernels: this process must lack them
    env = {k: v for k, v in os.environ.items() if k != "JOBS_BENCH_REQUIRE_NATIVE"}
    run = subprocess.run(
        [sys.executable, "-c", _UNBUILT], capture_output=True, text=True, env=env, check=False
    )
    assert run.returncode == 0, run.stderr
    record, *configs = run.stdout.splitlines()
    assert record == "{'native': [], 'why_no_native': 'jobs_bench._C was not built'}"
    built = study(Bo(n_init=2), Synthetic(), "4x")
    assert len(configs) == len(built.history)
    assert configs[:2] == [str(t.config) for t in built.history][:2]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [lambda: Bo(n_init=3), lambda: MfBo(n_init=3)])
def test_a_study_does_not_depend_on_the_threads(
    make: Callable[[], Strategy], threads: int, study: Study
) -> None:
    task = Synthetic(space=conditional_space(), seed=3)
    want = study(make(), task, "5x")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = study(make(), task, "5x")
    finally:
        torch.set_num_threads(before)
    assert [t.config for t in got.history] == [t.config for t in want.history]
    assert got.recommendation == want.recommendation


@pytest.mark.parametrize("make", [Bo, MfBo, JobsPaper])
@pytest.mark.parametrize("share", [{"fail_share": 0.5}, {"nan_share": 1.0}])
def test_recommends_finite_numbers_or_none(
    make: Callable[[], Strategy], share: dict[str, float], study: Study
) -> None:
    task = Synthetic(**share)  # type: ignore[arg-type]  # one of the shares
    machine = study(make(), task, "3x")
    found = machine.recommendation
    assert found is not None
    assert all(v is None or math.isfinite(v) for v in (found.score, found.low, found.high))
    if "nan_share" in share:
        assert found.config == task.space.default()
        assert "default recipe" in found.reason


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Bo(n_init=0), "n_init=0"),
        (lambda: Bo(engine="fast"), r"engine=fast; wanted one of native, botorch"),  # type: ignore[arg-type]
        (lambda: MfBo(engine=""), "engine="),  # type: ignore[arg-type]
        (lambda: JobsPaper(engine="torch"), "engine=torch"),  # type: ignore[arg-type]
        (lambda: MfBo(n_init=0), "n_init=0"),
        (lambda: MfBo(share=0.0), "share=0"),
        (lambda: MfBo(eta=1.0), "eta=1"),
        (lambda: MfBo(levels=0), "levels=0"),
        (lambda: JobsPaper(n_pilot=-1), "n_pilot=-1"),
        (lambda: JobsPaper(n_pilot=1), "n_pilot=1"),
        (lambda: JobsPaper(short=1.0), "short=1"),
        (lambda: JobsPaper(epochs=0), "epochs=0"),
        (lambda: JobsPaper(beta=0.0), "beta=0"),
        (lambda: Random(until_fraction=0.0), "until_fraction=0"),
    ],
)
def test_refuses_bad_options(make: Callable[[], Strategy], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make()


def test_refuses_more_pilots_than_the_budget() -> None:
    with pytest.raises(OptionError, match="n_pilot=9"):
        JobsPaper(n_pilot=9).setup(Synthetic().problem("8x"))


def test_jobs_paper_needs_a_short_run() -> None:
    with pytest.raises(CapabilityError, match="before the horizon"):
        JobsPaper().setup(Synthetic(fidelity=Fidelity((10,))).problem())
