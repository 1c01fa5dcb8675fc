"""Properties of the definitions that docs/scoring.md works out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jobs_bench.errors import ScaleError
from jobs_bench.stats import steps
from jobs_bench.stats.bootstrap import Estimate
from jobs_bench.stats.calibration import calibration
from jobs_bench.stats.interaction import interaction_gains, paired
from jobs_bench.stats.normalise import Reference
from jobs_bench.stats.pairs import pairing, verdict
from jobs_bench.stats.profiles import profile
from jobs_bench.stats.ranks import mean_ranks, tied_ranks
from jobs_bench.stats.rungs import rung_correlation
from jobs_bench.stats.significance import critical_difference, significance
from jobs_bench.stats.targets import time_to_target

SCORES = st.floats(0, 1)


@pytest.mark.parametrize(
    "numbers", [(0.5, 0.5, 0.0, 8), (0.5, 0.4, 0.0, 8), (0.5, 0.6, -1.0, 8), (0.5, 0.6, 0.0, 0),
                (math.nan, 0.6, 0.0, 8), (0.5, math.inf, 0.0, 8)],
)  # fmt: skip
def test_what_is_no_scale_is_refused(numbers: tuple[float, float, float, float]) -> None:
    low, high, noise, budget = numbers
    with pytest.raises(ScaleError, match="toy: got"):
        Reference("toy", "a", 1, budget, low, high, noise)


@given(
    st.lists(st.tuples(st.floats(0, 10), SCORES), min_size=1, max_size=20),
    st.lists(st.floats(-1, 12), min_size=1, max_size=10),
)
def test_a_trace_is_a_step_function(points: list[tuple[float, float]], grid: list[float]) -> None:
    points = sorted(points, key=lambda p: p[0])
    x, y = (np.array(v) for v in zip(*points, strict=True))
    found = steps.at(x, y, np.array(grid))
    for g, value in zip(grid, found, strict=True):
        before = [s for spent, s in points if spent <= g]
        if before:
            assert value == before[-1]
        else:
            assert math.isnan(value)


@given(st.lists(st.tuples(st.floats(0.01, 9.9), SCORES), max_size=20), SCORES)
def test_the_area_is_that_of_a_fine_sum(points: list[tuple[float, float]], first: float) -> None:
    points = [(0.0, first), *sorted(points, key=lambda p: p[0])]
    x, y = (np.array(v) for v in zip(*points, strict=True))
    fine = (np.arange(20_000) + 0.5) / 2_000
    want = steps.at(x, y, fine).mean()
    assert steps.mean_over(x, y, 0.0, 10.0) == pytest.approx(want, abs=1e-2)


@given(st.lists(SCORES, min_size=1, max_size=9))
def test_without_noise_ranks_are_the_usual_ones(scores: list[float]) -> None:
    s = np.array(scores)
    np.testing.assert_array_equal(tied_ranks(s, np.array(0.0)), stats.rankdata(-s))


@given(st.lists(SCORES, min_size=1, max_size=9), st.floats(0, 0.5))
def test_ranks_add_up_and_never_turn_the_order(scores: list[float], noise: float) -> None:
    s = np.array(scores)
    ranks = tied_ranks(s, np.array(noise))
    n = len(s)
    assert ranks.sum() == pytest.approx(n * (n + 1) / 2)
    order = np.argsort(-s)
    assert (np.diff(ranks[order]) >= 0).all()


def test_mean_ranks_have_intervals_that_hold_them() -> None:
    rng = np.random.default_rng(0)
    runs = [
        {"a": rng.normal(0.6, 0.1, 8), "b": rng.normal(0.5, 0.1, 8), "c": rng.normal(0.5, 0.1, 8)}
        for _ in range(6)
    ]
    for rank in mean_ranks(runs, [0.0] * 6, ["a", "b", "c"]).values():
        assert 1 <= rank.low <= rank.value <= rank.high <= 3


def test_demsars_table_of_critical_values() -> None:
    """Demsar 2006, table 5 (a), Nemenyi at 0.05: q for 2 to 10 classifiers."""
    table = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102,
             10: 3.164}  # fmt: skip
    for k, q in table.items():
        found = critical_difference(k, 12) / math.sqrt(k * (k + 1) / 72)
        assert found == pytest.approx(q, abs=1e-3)  # the table is cut off


def _runs(tasks: int, seeds: int, gaps: dict[str, float]) -> list[dict[str, dict[int, float]]]:
    rng = np.random.default_rng(0)
    return [
        {m: {s: g + 0.001 * rng.random() for s in range(seeds)} for m, g in gaps.items()}
        for _ in range(tasks)
    ]


@pytest.mark.parametrize(
    ("tasks", "seeds", "methods", "test"),
    [(5, 1, 3, "friedman-nemenyi"), (4, 5, 3, "wilcoxon-holm"), (8, 1, 2, "wilcoxon-holm"),
     (1, 6, 2, "wilcoxon-holm"), (1, 5, 2, "none"), (4, 1, 3, "none"), (9, 9, 1, "none")],
)  # fmt: skip
def test_which_test_the_data_allow(tasks: int, seeds: int, methods: int, test: str) -> None:
    gaps = {f"m{i}": 0.1 * i for i in range(methods)}
    found = significance(_runs(tasks, seeds, gaps), [0.0] * tasks, list(gaps))
    assert found.test == test
    assert ("not tested" in found.statement) == (test == "none")


def test_clear_differences_are_found_and_ties_are_not() -> None:
    far = _runs(12, 3, {"a": 0.9, "b": 0.5, "c": 0.1})
    found = significance(far, [0.01] * 12, ["a", "b", "c"])
    assert found.differ("a", "c")
    assert found.differ("c", "a")
    near = _runs(12, 3, {"a": 0.5, "b": 0.5, "c": 0.5})
    found = significance(near, [0.01] * 12, ["a", "b", "c"])
    assert not any(found.differ(a, b) for a in "abc" for b in "abc")
    assert found.p_value == 1.0
    assert significance(near[:1] * 3, [0.01] * 3, ["a", "b"]).pairs == {("a", "b"): 1.0}


def test_holm_corrects_what_wilcoxon_finds() -> None:
    runs = _runs(3, 4, {"a": 0.9, "b": 0.5, "c": 0.1})
    found = significance(runs, [0.0] * 3, ["a", "b", "c"])
    alone = significance(runs, [0.0] * 3, ["a", "b"]).pairs["a", "b"]
    assert found.pairs["a", "b"] == pytest.approx(3 * alone)  # of three equal ones, all times 3


@given(st.lists(st.one_of(st.floats(0.01, 9.99), st.just(math.inf)), min_size=1, max_size=12))
def test_time_to_target_with_one_budget_is_plain_counting(times: list[float]) -> None:
    t = np.array(times)
    found = time_to_target(t, np.full(len(t), 10.0))
    reached = sorted(x for x in times if x <= 10)
    assert (found.runs, found.reached) == (len(t), len(reached))
    half = math.ceil(len(t) / 2)
    want = reached[half - 1] if len(reached) >= half else math.inf
    assert found.median == want
    spent = sum(min(x, 10.0) for x in times)
    assert found.expected == pytest.approx(spent / len(reached) if reached else math.inf)


def test_a_target_that_is_met_at_once_takes_nothing() -> None:
    found = time_to_target(np.zeros(5), np.full(5, 8.0))
    assert (found.median, found.expected) == (0.0, 0.0)


def test_censoring_before_the_others_is_not_failure() -> None:
    """Two runs are cut off at 1 before anything could happen: the other two decide."""
    found = time_to_target(np.array([4.0, 6.0, math.inf, math.inf]), np.array([9.0, 9, 1, 1]))
    assert found.median == 4.0


@given(st.lists(st.floats(-50, 120), min_size=1, max_size=20))
def test_profiles_fall_from_one_to_nought(values: list[float]) -> None:
    grid = np.linspace(-51, 121, 30)
    found = profile(np.array(values), [len(values)], grid)
    assert found.share[0] == pytest.approx(1)
    assert found.share[-1] == 0
    assert (np.diff(found.share) <= 1e-12).all()
    assert (found.low <= found.share + 1e-9).all()
    assert (found.share <= found.high + 1e-9).all()


@given(st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=12), st.floats(0, 0.3))
def test_turning_a_comparison_around_turns_its_signs(
    scores: list[tuple[float, float]], noise: float
) -> None:
    a, b = (np.array(v) for v in zip(*scores, strict=True))
    floor = np.full(len(a), noise)
    one, other = pairing(a, b, floor, [len(a)]), pairing(b, a, floor, [len(a)])
    assert one.difference.value == pytest.approx(-other.difference.value)
    assert one.improvement.value == pytest.approx(1 - other.improvement.value)
    turned = {"A is better": "B is better", "B is better": "A is better"}
    # quantiles are interpolated: at the very edge the two sides may differ in the last digit
    d = one.difference
    near = min(abs(abs(x) - edge) for x in (d.low, d.high, d.value) for edge in (0.0, noise))
    if near > 1e-9:
        assert other.verdict == turned.get(one.verdict, one.verdict)


@pytest.mark.parametrize(
    ("value", "low", "high", "noise", "want"),
    [(5, 3, 7, 2, "A is better"), (-5, -7, -3, 2, "B is better"), (1, -1, 1.5, 2, "tie"),
     (1, 0.5, 3, 2, "tie"), (1, -3, 5, 2, "not separated"), (5, -1, 9, 2, "not separated"),
     (0, 0, 0, 0, "tie")],
)  # fmt: skip
def test_verdicts(value: float, low: float, high: float, noise: float, want: str) -> None:
    assert verdict(Estimate(value, low, high), noise, 10) == want


def test_one_pair_is_too_few() -> None:
    assert verdict(Estimate(5, math.nan, math.nan), 1.0, 1) == "too few"


def test_interaction_gain_finds_wrappers_of_any_name_and_pairs_by_seed() -> None:
    base = {("t", s): 80.0 for s in range(4)}
    half = {("t", s): 70.0 for s in range(2)}
    gains = interaction_gains(
        {"b?n=1": base, "mine(b?n=1)?k=2": half, "mine(other)": half, "b": base}, {"t": 1.0}
    )
    assert [(g.base, g.wrapper, g.gain.pairs) for g in gains] == [("b?n=1", "mine?k=2", 2)]
    assert gains[0].gain.difference.value == 10.0
    assert paired(base, {("u", 0): 1.0}, {"t": 1.0, "u": 1.0}) is None


def test_beliefs_that_were_not_given_count_nowhere() -> None:
    nan = np.full(3, math.nan)
    found = calibration(nan, nan, nan, np.array([0.1, 0.2, 0.3]))
    assert (found.believed, found.intervals) == (0, 0)
    assert math.isnan(found.bias)
    assert math.isnan(found.coverage)
    found = calibration(np.array([0.2, math.nan, 0.2]), nan, nan, np.array([0.1, 0.2, math.nan]))
    assert found.believed == 1
    assert found.bias == pytest.approx(0.1)


@given(st.integers(3, 10), st.integers(0, 1000))
def test_any_rising_change_of_a_rung_keeps_its_correlations(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = rng.random((n, 3))
    bent = curves.copy()
    bent[:, 0] = np.exp(3 * bent[:, 0])
    one, other = rung_correlation(curves), rung_correlation(bent)
    np.testing.assert_allclose(one.spearman, other.spearman)
    np.testing.assert_allclose(one.kendall, other.kendall)
    np.testing.assert_allclose(np.diag(one.spearman), 1)


def test_too_few_trials_have_no_correlation() -> None:
    found = rung_correlation(np.array([[0.1, 0.2], [0.2, math.nan], [0.3, 0.3]]))
    assert math.isnan(found.spearman[0, 1])
    assert found.trials[0, 1] == 2
