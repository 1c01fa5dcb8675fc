"""The bound, its constants, and the number of pilots: worked numbers and properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.errors import OptionError
from jobs_bench_strategies.jobs.theory import (
    Errors,
    best_split,
    information_gain,
    interpolated,
    regret,
)


def _gamma(T: float) -> float:
    return 8 * math.log1p(T)


@pytest.mark.parametrize(("b", "N"), [(0.0, 31), (0.1, 30), (0.5, 27), (1.0, 24)])
def test_best_number_of_pilots_without_a_floor(b: float, N: int) -> None:
    """C = 50 B, B_small = .1 B, gamma = 8 ln(1 + T): the paper's N = 30 and the code's 20."""
    assert best_split(50, 1, 0.1, b, Errors(0.0, 1.0), _gamma).N == N


def test_an_error_floor_asks_for_fewer_pilots() -> None:
    assert best_split(50, 1, 0.1, 0.5, Errors(0.3, 1.0), _gamma).N == 17


def test_with_a_frozen_gain_the_stationary_point_is_the_closed_form() -> None:
    """``b N^(3/2) + 2 c N = c C / B`` with ``c = k sqrt(2 (gamma + 1 + ln(1 / delta)))``."""
    gain, b, k, C = 20.0, 0.7, 1.0, 400
    c = k * math.sqrt(2 * (gain + 1 + math.log(10)))
    found = best_split(C, 1, 0.01, b, Errors(0.0, k), lambda _: gain)
    exact = min(range(1, C), key=lambda n: abs(b * n**1.5 + 2 * c * n - c * C))
    assert abs(found.N - exact) <= 1


def test_the_bound_is_infinite_without_rounds() -> None:
    assert regret(5, 5, 1, 0.1, 1.0, Errors(0, 1), _gamma) == math.inf
    with pytest.raises(OptionError, match=r"got a budget of 0\.5; wanted more than a full run"):
        best_split(0.5, 1, 0.1, 1.0, Errors(0, 1), _gamma)


def test_a_split_tells_what_one_more_pilot_gains() -> None:
    split = best_split(50, 1, 0.1, 0.5, Errors(0.3, 1.0), _gamma)
    assert split.gain(3) > split.gain(10) > 0 >= split.gain(split.N)
    assert split.gain(10**6) == -math.inf


def test_greedy_gain_of_independent_points_is_exact() -> None:
    gains = information_gain(np.eye(4), 0.5, 6)
    one = 0.5 * math.log(1 + 1 / 0.5)
    again = 0.5 * math.log(1 + (1 - 1 / 1.5) / 0.5)
    assert gains == pytest.approx(np.cumsum([0, one, one, one, one, again, again]))
    with pytest.raises(OptionError, match="wanted a variance above 0"):
        information_gain(np.eye(2), 0.0, 1)


@given(st.integers(0, 10_000))
def test_greedy_gain_is_near_the_maximum(seed: int) -> None:
    """Within ``1 - 1/e`` of the best subset, monotone, with falling increments."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(5, 3))
    K = A @ A.T + 0.1 * np.eye(5)
    gains = information_gain(K, 0.3, 3)
    best = max(
        0.5 * np.linalg.slogdet(np.eye(3) + K[np.ix_(s, s)] / 0.3)[1]
        for s in itertools.combinations_with_replacement(range(5), 3)
    )
    assert gains[3] >= (1 - 1 / math.e) * best - 1e-9
    assert gains[3] <= best + 1e-9
    steps = np.diff(gains)
    assert (steps >= -1e-12).all()
    assert (np.diff(steps) <= 1e-9).all()


def test_gamma_between_and_beyond_what_was_computed() -> None:
    gamma = interpolated(np.asarray([0.0, 2.0, 3.0]))
    assert gamma(1.5) == pytest.approx(2.5)
    assert gamma(0) == 0
    assert gamma(8) == pytest.approx(3 * (1 + math.log(4) / math.log(3)))
    assert interpolated(np.zeros(1))(5) == 0


@given(st.floats(0, 2), st.floats(0, 3))
def test_errors_are_recovered(s0: float, k: float) -> None:
    counts = [2, 3, 5, 8, 13]
    truth = Errors(s0, k)
    found = Errors.fit(counts, [truth.at(n) for n in counts])
    assert found.s0 == pytest.approx(s0, abs=1e-5)
    assert found.k == pytest.approx(k, abs=1e-5)


def test_errors_that_rise_have_no_slope() -> None:
    assert Errors.fit([2, 4, 8], [0.1, 0.2, 0.3]).k == 0
