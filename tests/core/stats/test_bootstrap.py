from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jobs_bench.stats.bootstrap import (
    iqm,
    iqm_estimate,
    mean_estimate,
    resampling,
    task_weights,
)

VALUES = st.floats(-1e3, 1e3)
COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(st.integers(1, 8).flatmap(lambda k: st.lists(VALUES, min_size=4 * k, max_size=4 * k)))
def test_with_whole_quarters_it_is_the_trimmed_mean(values: list[float]) -> None:
    v = np.array(values)
    want = stats.trim_mean(v, 0.25)
    np.testing.assert_allclose(iqm(v, task_weights([len(v)]))[0], want, rtol=1e-9, atol=1e-9)


@given(st.lists(VALUES, min_size=1, max_size=30), st.randoms())
def test_order_does_not_matter_and_it_lies_between_the_quartiles(
    values: list[float], random: object
) -> None:
    v = np.array(values)
    weights = task_weights([len(v)])
    one = iqm(v, weights)[0]
    shuffled = np.array(sorted(values, key=lambda _: random.random()))  # type: ignore[attr-defined]
    np.testing.assert_allclose(iqm(shuffled, weights)[0], one, rtol=1e-12, atol=1e-9)
    assert np.quantile(v, 0.25, method="lower") - 1e-9 <= one
    assert one <= np.quantile(v, 0.75, method="higher") + 1e-9


@given(COUNTS)
def test_resamples_draw_tasks_then_seeds(counts: list[int]) -> None:
    weights = resampling(tuple(counts), 50)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    ends = np.cumsum(counts)
    for first, last in zip([0, *ends[:-1]], ends, strict=False):
        share = weights[:, first:last].sum(axis=1) * len(counts)
        np.testing.assert_allclose(share, np.round(share), atol=1e-9)  # whole tasks


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Normal scores on eight tasks of five seeds; 200 repetitions, true mean 0."""
    rng = np.random.default_rng(0)
    counts = [5] * 8
    held = 0
    for _ in range(200):
        tasks = rng.normal(0, 3, 8)
        values = np.repeat(tasks, 5) + rng.normal(0, 1, 40)
        found = mean_estimate(values, counts)
        held += found.low <= 0 <= found.high
    assert 0.84 <= held / 200 <= 0.99  # percentile intervals of eight tasks are a little short


def test_seeds_alone_would_claim_too_much() -> None:
    rng = np.random.default_rng(1)
    tasks = np.repeat(rng.normal(0, 10, 6), 20)
    values = tasks + rng.normal(0, 1, 120)
    by_task = iqm_estimate(values, [20] * 6)
    pooled = iqm_estimate(values, [120])
    assert by_task.high - by_task.low > 1.5 * (pooled.high - pooled.low)


@given(st.lists(VALUES, min_size=6, max_size=6), VALUES, st.floats(0.1, 10))
def test_it_follows_a_change_of_scale(values: list[float], shift: float, scale: float) -> None:
    v = np.array(values)
    one, other = iqm_estimate(v, [3, 3]), iqm_estimate(shift + scale * v, [3, 3])
    for name in ("value", "low", "high"):
        want = shift + scale * getattr(one, name)
        np.testing.assert_allclose(getattr(other, name), want, rtol=1e-6, atol=1e-6)


def test_a_single_run_has_no_interval() -> None:
    found = iqm_estimate(np.array([5.0]), [1])
    assert found.value == 5.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_same_design_has_the_same_draws() -> None:
    resampling.cache_clear()
    first = resampling((3, 4)).copy()
    resampling.cache_clear()
    resampling((9, 9, 9))
    np.testing.assert_array_equal(resampling((3, 4)), first)
    with pytest.raises(ValueError, match="read-only"):
        resampling((3, 4))[0, 0] = 1.0
