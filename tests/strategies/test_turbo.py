"""TuRBO's region follows its trials alone, and candidates stay inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.errors import OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic, pool, small_space
from jobs_bench_strategies.turbo import FIRST, LONGEST, SHORTEST, Region, Turbo, region_after

Study = Callable[..., Machine]


def test_the_design_counts_for_nothing() -> None:
    assert region_after([1.0, 2.0, 3.0], 3, 4) == Region(FIRST, 0, 0)


def test_three_gains_double_the_region_and_it_has_a_limit() -> None:
    rising = [float(i + 1) for i in range(40)]
    assert region_after(rising[:5], 2, 4).length == LONGEST
    assert region_after(rising, 2, 4).length == LONGEST


def test_losses_halve_it_and_failures_are_losses() -> None:
    assert region_after([1.0, 1.0, 0.5, None, 0.4, 0.3], 2, 4).length == FIRST / 2
    assert region_after([1.0, 1.0, 0.5, None, 2.0, 0.3, 0.2], 2, 4).length == FIRST
    assert region_after([1.0, 1.0, 1.0005, 1.0006], 2, 2).length == FIRST / 2, "too small a gain"


def test_a_tiny_region_is_given_up() -> None:
    halvings = 7
    assert FIRST / 2**halvings < SHORTEST
    flat = [1.0] * (2 + halvings * 3)
    assert region_after(flat, 2, 3) == Region(FIRST, len(flat), 1)
    assert region_after([*flat, 0.1, 0.2, 0.3], 2, 3) == Region(FIRST, len(flat), 1)


def test_candidates_lie_in_the_box() -> None:
    strategy, space = Turbo(), small_space()
    strategy.setup(Synthetic().problem("8x"))
    centre = space.default()
    at = np.asarray(space.encode(centre))
    found = strategy._around(centre, 0.2, {centre}, np.random.default_rng(0))
    assert len(found) > 50
    assert centre not in found
    smooth = [i for i, a in enumerate(space.encode(centre)) if 0.2 < a < 0.8]
    moved = np.asarray([space.encode(c) for c in found]) - at
    assert np.median(np.abs(moved[:, smooth]), axis=0).max() <= 0.1 + 1e-9


def test_it_improves_on_its_design(study: Study) -> None:
    ours, design = [], []
    for seed in range(4):
        task = Synthetic(seed=seed)
        machine = study(Turbo(n_init=4), task, "20x")
        assert machine.recommendation is not None
        ours.append(task.limit(machine.recommendation.config))
        design.append(max(task.limit(t.config) for t in list(machine.history)[:4]))
    assert np.mean(ours) > np.mean(design)


def test_of_a_pool_it_takes_members_once(study: Study) -> None:
    task = Synthetic(candidates=pool(small_space(), 4, 4))
    machine = study(Turbo(n_init=3), task, "30x")
    configs = [t.config for t in machine.history]
    assert len(configs) == len(set(configs)) == 16


@pytest.mark.parametrize("options", [{"n_init": 1}, {"candidates": 0}, {"failures": -1}])
def test_refuses_bad_options(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=f"got {next(iter(options))}="):
        Turbo(**options)
