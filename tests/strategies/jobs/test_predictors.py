"""Predictors of finals, the choice among them, and their calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs_bench_strategies.jobs.choice import FEWEST, FOLDS, MOST_ALONE, PRIOR_TRIALS, choose
from jobs_bench_strategies.jobs.predictors import CANDIDATES

STEPS = np.asarray([4.0, 8.0, 16.0, 64.0])


def _power_curves(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return histories of ``a - b step^-0.5`` with free a and b, configurations, finals."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.uniform(5, 40, size=n)
    curves = a[:, None] - b[:, None] * STEPS[None, :] ** -0.5
    return curves[:, :-1], rng.normal(size=(n, 2)), curves[:, -1]


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_knows_a_common_gain(name: str) -> None:
    """Where all curves gain the same, every predictor is exact."""
    rng = np.random.default_rng(1)
    H = np.cumsum(rng.normal(size=(9, 3)), axis=1)
    X = rng.normal(size=(9, 4))
    fitted = CANDIDATES[name](H, X, H[:, -1] + 0.7, STEPS)
    if name != "power":
        assert fitted(H + 5, X) == pytest.approx(H[:, -1] + 5.7, abs=1e-6)
    assert fitted(H[:2], X[:2]).shape == (2,)


def test_the_power_law_is_exact_on_power_laws() -> None:
    H, X, y = _power_curves(8)
    assert CANDIDATES["power"](H, X, y, STEPS)(H, X) == pytest.approx(y, abs=1e-9)
    assert CANDIDATES["power"](H[:, :1], X, y, STEPS[[0, 3]])(H[:, :1], X) == pytest.approx(
        CANDIDATES["carry"](H[:, :1], X, y, STEPS[[0, 3]])(H[:, :1], X)
    )


def test_the_best_by_rank_correlation_is_chosen() -> None:
    H, X, y = _power_curves(12)
    rung = choose(H, X, y, STEPS)
    assert rung.name == "power"
    assert not rung.abstains
    assert rung.rank["power"] == pytest.approx(1.0)
    assert rung.rank["power"] > rung.rank["carry"]
    assert rung.sd(prior=0.0) < 1e-6
    assert rung.step == 16


def test_it_abstains_where_nothing_beats_carrying_forward() -> None:
    rng = np.random.default_rng(3)
    H = np.cumsum(rng.normal(size=(10, 3)), axis=1)
    rung = choose(H, rng.normal(size=(10, 2)), H[:, -1] + 1.0, STEPS)
    assert rung.name == "carry"
    assert rung.abstains


def test_too_few_finals_tell_no_predictors_apart() -> None:
    H, X, y = _power_curves(FEWEST - 1)
    rung = choose(H, X, y, STEPS)
    assert rung.name == "carry"
    assert math.isnan(rung.rank["carry"])
    empty = choose(H[:0], X[:0], y[:0], STEPS)
    assert empty.predict(H, X) == pytest.approx(H[:, -1])
    assert empty.sd(prior=0.4) == pytest.approx(0.4)
    assert choose(H, X, y, STEPS, only="ridge").name == "ridge" or len(y) < FEWEST


@pytest.mark.parametrize("n", [18, 45])
@pytest.mark.parametrize("name", CANDIDATES)
def test_held_out_predictions_are_those_of_a_fit_without_the_fold(name: str, n: int) -> None:
    """A few trials are left out one by one, many by eighths."""
    rng = np.random.default_rng(4)
    H, X, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), rng.normal(size=n)
    rung = choose(H, X, y, STEPS, only=name)
    apart = n if n <= MOST_ALONE else FOLDS
    for i in (0, 7, 17):
        rest = np.arange(n) % apart != i % apart
        alone = CANDIDATES[name](H[rest], X[rest], y[rest], STEPS)(H[i : i + 1], X[i : i + 1])
        assert rung.held_out[i] == pytest.approx(float(alone[0]), abs=1e-6)


def test_held_out_errors_are_those_of_predictors_without_the_trial() -> None:
    rng = np.random.default_rng(4)
    H = rng.normal(size=(7, 2))
    X, y = rng.normal(size=(7, 1)), rng.normal(size=7)
    at = STEPS[[0, 1, 3]]
    rung = choose(H, X, y, at, only="ridge")
    i = 3
    rest = np.arange(7) != i
    alone = CANDIDATES["ridge"](H[rest], X[rest], y[rest], at)(H[[i]], X[[i]])
    assert rung.held_out[i] == pytest.approx(float(alone[0]))
    squares = float(((rung.held_out - y) ** 2).sum())
    assert rung.sd(prior=0.5) == pytest.approx(
        math.sqrt((squares + PRIOR_TRIALS * 0.25) / (7 + PRIOR_TRIALS))
    )


def test_calibration_on_noise() -> None:
    """The stated deviation covers what a prediction misses, within sampling error."""
    rng = np.random.default_rng(5)
    limits = rng.normal(size=400)
    H = limits[:, None] + rng.normal(scale=0.5, size=(400, 2))
    X = np.zeros((400, 1))
    rung = choose(H[:20], X[:20], limits[:20], STEPS[[0, 1, 3]])
    missed = rung.predict(H[20:], X[20:]) - limits[20:]
    inside = float((np.abs(missed) < 1.96 * rung.sd(prior=0.5)).mean())
    assert 0.85 < inside <= 1.0
