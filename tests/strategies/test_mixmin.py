"""MixMin: the mix by hand, and studies that find the domain that the target is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.cli.compose import check_needs
from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies.mixing.mixmin import MixMin, best_mix

Study = Callable[..., Machine]


def test_the_mix_of_two_models_that_each_know_a_half() -> None:
    """Three of four questions are the first model's: F is least at (3/4, 1/4) where p is 1 or 0."""
    p = np.asarray([[1.0, 1e-9]] * 3 + [[1e-9, 1.0]])
    assert best_mix(np.log(p)) == pytest.approx([0.75, 0.25], abs=1e-3)


def test_the_mix_has_the_smallest_objective() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(-40, 3, size=(50, 4))

    def objective(v: np.ndarray) -> float:
        top = logs.max(axis=1, keepdims=True)
        return -float(np.log(np.exp(logs - top) @ v).mean())

    best = best_mix(logs)
    assert best.sum() == pytest.approx(1)
    others = rng.dirichlet(np.ones(4), size=2000)
    assert objective(best) <= min(objective(v) for v in others) + 1e-6


def test_a_study_is_one_run_a_domain_and_a_full_one(study: Study) -> None:
    task = Synthetic(seed=4)
    machine = study(MixMin(), task, "8x")
    k = len(task.space.simplexes[0].domains)
    *proxies, full = machine.history
    assert len(proxies) == k
    assert [max(t.config.mixture().values()) for t in proxies] == pytest.approx(
        [0.95] * k, abs=0.06
    )
    assert full.step == task.fidelity.horizon
    found, planted = full.config.mixture(), task.optimum().mixture()
    assert max(found, key=lambda d: found[d]) == max(planted, key=lambda d: planted[d])


def test_it_says_what_it_wants() -> None:
    task = Synthetic()
    with pytest.raises(CapabilityError, match="mixmin needs logprobs; the task gives curves"):
        check_needs(MixMin(), task.problem("8x", capabilities=("curves", "resume")))
    with pytest.raises(OptionError, match="wanted 3 runs of that length"):
        MixMin(short=1.0).setup(task.problem("3x"))
