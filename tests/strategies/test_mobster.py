"""MOBSTER: ASHA's promotions, a model of all rungs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies.rungs.asha import Asha
from jobs_bench_strategies.rungs.mobster import Mobster

Study = Callable[..., Machine]


def test_promotions_are_those_of_asha(study: Study) -> None:
    machine = study(Mobster(), Synthetic(seed=3), "10x")
    steps = machine.problem.fidelity.rungs(3.0)
    assert {t.step for t in machine.history} <= set(steps)
    # a third goes on at a time; as newcomers are better, some of that third are overtaken later
    above = [t for t in machine.history if t.step > steps[0]]
    assert len(machine.history) // 4 <= len(above) <= len(machine.history) // 2


def test_the_model_takes_over_after_the_first_draws(study: Study) -> None:
    """Until `n_init` scores the draws are those of ASHA; after them they differ."""
    model = list(study(Mobster(n_init=5), Synthetic(seed=3), "6x").history)
    plain = list(study(Asha(), Synthetic(seed=3), "6x").history)
    assert [t.config for t in model[:5]] == [t.config for t in plain[:5]]
    assert model[5].config != plain[5].config


def test_its_trials_are_better_than_uniform_ones(study: Study) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    for seed in range(4):
        task = Synthetic(seed=seed)
        for strategy, found in ((Mobster(), ours), (Asha(), theirs)):
            trials = list(study(strategy, task, "8x").history)
            found.append(float(np.mean([task.limit(t.config) for t in trials[10:]])))
    assert np.mean(ours) > np.mean(theirs)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(OptionError, match="got n_init=1"):
        Mobster(n_init=1)
    with pytest.raises(OptionError, match="got enough=0"):
        Mobster(enough=0)
    with pytest.raises(OptionError, match=r"got eta=1\.0"):
        Mobster(eta=1.0)
    with pytest.raises(CapabilityError, match="mobster needs a task that can resume"):
        Mobster().setup(Synthetic().problem("4x", capabilities=("curves",)))
