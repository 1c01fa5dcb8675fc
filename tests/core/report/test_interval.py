from __future__ import annotations

import math

import pytest

from jobs_bench.report.interval import over_oracle, over_studies
from jobs_bench.trial import Value


def test_over_studies_is_the_textbook_t_interval() -> None:
    # 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653
    got = over_studies([1.0, 2.0, 3.0])
    assert got.mean == pytest.approx(2.0)
    assert got.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert got.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert got.method == "t over 3 study seeds"


def test_one_oracle_run_has_the_interval_of_its_items() -> None:
    # t(0.975, 99) = 1.984217
    got = over_oracle([Value(0.5, 0.01, 100)])
    assert got.low == pytest.approx(0.5 - 0.01984217, abs=1e-8)
    assert got.high == pytest.approx(0.5 + 0.01984217, abs=1e-8)
    assert got.method == "t over 100 hidden items"


def test_more_oracle_runs_do_not_shrink_the_error_of_the_items() -> None:
    one = over_oracle([Value(0.5, 0.01, 100)])
    four = over_oracle([Value(0.5, 0.01, 100)] * 4)
    assert four.low == pytest.approx(one.low)
    assert four.method == "t over 100 hidden items and 4 oracle seeds"


def test_items_and_seeds_add_up() -> None:
    # means 0.4 and 0.6: variance of the mean 0.02 / 2 = 0.01; items 0.0001
    got = over_oracle([Value(0.4, 0.01, 100), Value(0.6, 0.01, 100)])
    df = 0.0101**2 / (0.01**2 / 1 + 0.0001**2 / 99)
    assert df == pytest.approx(1.0201, abs=1e-4)
    assert got.mean == pytest.approx(0.5)
    assert got.high is not None
    half = got.high - 0.5
    assert 12.0 * math.sqrt(0.0101) < half < 12.7062 * math.sqrt(0.0101)


def test_seeds_alone_when_the_items_have_no_error() -> None:
    got = over_oracle([Value(0.4), Value(0.6)])
    assert got.high == pytest.approx(0.5 + 12.706205 * 0.1, abs=1e-5)
    assert got.method == "t over 2 oracle seeds"


def test_no_error_at_all_gives_no_interval() -> None:
    got = over_oracle([Value(0.4)])
    assert (got.mean, got.low, got.high, got.method) == (0.4, None, None, "none")


def test_no_variance_gives_a_point() -> None:
    got = over_oracle([Value(0.4, 0.0, 10), Value(0.4, 0.0, 10)])
    assert (got.low, got.high) == (0.4, 0.4)
