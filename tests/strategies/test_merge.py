"""Merge: what is trained, what is scored only, and studies that find the planted mixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.cli.compose import check_needs
from jobs_bench.errors import CapabilityError, InputError, OptionError
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.machine import Machine
from jobs_bench.space.configuration import Mixture
from jobs_bench.testing.strategy_contract import check_strategy
from jobs_bench.testing.synthetic import FULL_RUN_FLOP, SCORING, Synthetic, pool, small_space
from jobs_bench_strategies.mixing.merge import Merge

Study = Callable[..., Machine]


def _distance(a: Mixture, b: Mixture) -> float:
    return sum(abs(a[d] - b[d]) for d in a) / 2


@pytest.mark.parametrize("workers", [1, 3])
def test_a_study_trains_corners_scores_merges_and_trains_once(study: Study, workers: int) -> None:
    task = Synthetic(seed=3, noise=0.0)
    machine = study(Merge(evaluations=12), task, "3x", workers)
    trials = list(machine.history)
    corners, merged, full = trials[:3], trials[3:-1], trials[-1]
    assert [max(t.config.mixture().values()) for t in corners] == pytest.approx([1.0] * 3)
    assert {t.step for t in (*corners, *merged)} == {27}
    assert len(merged) == 12
    assert all(t.merge and t.ok for t in merged)
    assert (full.step, full.merge) == (81, ())
    spent = machine.ledger.by_category("flop")
    assert spent["eval"] == pytest.approx(12 * SCORING * FULL_RUN_FLOP)
    assert spent["train"] == pytest.approx(2 * FULL_RUN_FLOP), "three thirds and a full run"
    assert machine.recommendation is not None
    assert machine.recommendation.config == full.config
    assert machine.recommendation.trial_id == full.trial_id
    assert machine.recommendation.score == full.score_at(81)


def test_merges_stand_for_the_mixtures_that_they_mix(study: Study) -> None:
    machine = study(Merge(evaluations=8), Synthetic(seed=2, noise=0.0), "3x")
    merged = [t for t in machine.history if t.merge]
    first = dict(merged[0].merge)
    assert first == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})
    assert len({t.config for t in machine.history}) >= 11, "nothing is scored twice"
    for trial in merged:
        shares = dict(trial.merge)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(c > 0 for c in shares.values())
        wanted = [shares.get(i, 0.0) for i in range(3)]
        np.testing.assert_allclose(list(trial.config.mixture().values()), wanted, atol=1e-6)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_it_comes_nearer_to_the_optimum_than_the_first_ones(study: Study, seed: int) -> None:
    # at the horizon: before it the synthetic score depends on how fast a configuration learns
    task = Synthetic(seed=seed, noise=0.0, interaction=0.0)
    machine = study(Merge(short=1.0, evaluations=20), task, "5x")
    planted = task.optimum().mixture()
    gaps = [_distance(t.config.mixture(), planted) for t in machine.history]
    assert machine.recommendation is not None
    found = _distance(machine.recommendation.config.mixture(), planted)
    assert found < min(gaps[:4]), "corners and equal shares"
    assert found < 0.2


def test_floors_and_caps_bind_the_corners(study: Study) -> None:
    space = small_space()
    (simplex,) = space.simplexes
    tight = dataclasses.replace(simplex, caps=(0.7, 0.7, 0.7), floor=0.05)
    axes = tuple(tight if a.name == simplex.name else a for a in space.axes)
    task = Synthetic(dataclasses.replace(space, axes=axes), noise=0.0)
    machine = study(Merge(evaluations=8), task, "3x")
    trials = list(machine.history)
    corners = np.asarray([list(t.config.mixture().values()) for t in trials[:3]])
    assert corners.max() == pytest.approx(0.7)
    merged = [t for t in trials if t.merge]
    assert len(merged) == 8
    for trial in merged:
        shares = dict(trial.merge)
        mix = np.asarray([shares.get(i, 0.0) for i in range(3)]) @ corners
        np.testing.assert_allclose(list(trial.config.mixture().values()), mix, atol=0.06)


def test_failed_corners_are_left_out(study: Study) -> None:
    for seed in range(20):
        task = Synthetic(seed=seed, fail_share=0.4)
        machine = study(Merge(evaluations=5), task, "3x")
        corners = list(machine.history)[:3]
        ok = {t.trial_id for t in corners if t.status == "ok"}
        if len(ok) == 2 and any(t.step == 27 for t in corners):
            break
    merged = [t for t in machine.history if t.merge]
    assert len(merged) == 5
    assert all({i for i, _ in t.merge} <= ok for t in merged)


def test_it_says_what_it_wants() -> None:
    task = Synthetic()
    bare = task.problem("8x", capabilities=("curves", "resume"))
    with pytest.raises(CapabilityError, match="merge needs merge; the task gives curves"):
        check_needs(Merge(), bare)
    with pytest.raises(CapabilityError, match="merge needs merge; the task gives curves"):
        Merge().setup(bare)
    with pytest.raises(CapabilityError, match="a pool of 4 recorded candidates"):
        Merge().setup(Synthetic(candidates=pool(small_space(), 2, 2)).problem("8x"))
    with pytest.raises(OptionError, match=r"evaluations=300 .* cost 3\.5x, of a budget of 3x"):
        Merge(evaluations=300).setup(task.problem("3x"))
    with pytest.raises(OptionError, match="wanted 3 runs of that length"):
        Merge(short=1.0).setup(task.problem("3x"))
    with pytest.raises(OptionError, match="evaluations=0"):
        Merge(evaluations=0)
    dora = dataclasses.replace(
        task.problem("8x"), default=task.space.default().with_({"method": "dora"})
    )
    with pytest.raises(CapabilityError, match="lora or rslora; the default recipe has 'dora'"):
        Merge().setup(dora)


def test_wrappers_pass_merges_on_or_refuse_them() -> None:
    check_strategy(lambda: load_strategy("data_only(merge?evaluations=3)"), quick=True)
    with pytest.raises(InputError, match="merge needs merge; the task gives"):
        load_strategy("repeat(merge)").setup(Synthetic().problem("8x"))
