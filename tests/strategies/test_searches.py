"""Random and Sobol search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench_strategies._drawing import sobol_unit
from jobs_bench_strategies.random import Random
from jobs_bench_strategies.sobol import Sobol

Study = Callable[..., Machine]


def test_random_stops_where_it_is_told(study: Study) -> None:
    machine = study(Random(until_fraction=0.3), Synthetic(), "2x")
    assert {t.step for t in machine.history} == {27}
    assert machine.history[0].config != small_space().default()


def test_the_best_observed_is_recommended_with_its_interval(study: Study) -> None:
    machine = study(Random(), Synthetic(), "5x")
    found = machine.recommendation
    assert found is not None
    best = max(machine.history, key=lambda t: t.score_at(81) or -np.inf)
    assert found.trial_id == best.trial_id
    assert found.score is not None
    assert found.low is not None
    assert found.score - found.low == np.float64(found.score - found.low)
    assert 0.01 < found.score - found.low < 0.03


def test_sobol_is_one_sequence_through_the_study(study: Study) -> None:
    space = small_space()
    machine = study(Sobol(), Synthetic(), "6x", workers=2)
    seeds = {t.notes[0]["sobol_seed"] for t in machine.history}
    assert len(seeds) == 1
    seed = seeds.pop()
    assert isinstance(seed, int)
    points = [space.decode(sobol_unit(space, seed, i)) for i in range(len(machine.history) + 20)]
    found = [points.index(t.config) for t in machine.history]
    assert found == sorted(found)


def test_sobol_points_are_even() -> None:
    space = small_space()
    u = np.asarray([sobol_unit(space, 3, i) for i in range(64)])
    for column in u.T:
        # a base-2 sequence puts exactly one of 64 points into each of 64 cells
        assert sorted((column * 64).astype(int)) == list(range(64))
