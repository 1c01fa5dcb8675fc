from __future__ import annotations

import numpy as np

from jobs_bench.report.figures import averaged


def test_step_functions_are_averaged_from_where_all_are_known() -> None:
    first = (np.array([1.0, 3.0]), np.array([0.2, 0.6]))
    second = (np.array([2.0, 4.0]), np.array([0.4, 0.8]))
    grid, mean, low, high = averaged([first, second])
    np.testing.assert_allclose(grid, [2, 3, 4])
    np.testing.assert_allclose(mean, [0.3, 0.5, 0.7])
    np.testing.assert_allclose(low, [0.2, 0.4, 0.6])
    np.testing.assert_allclose(high, [0.4, 0.6, 0.8])


def test_studies_without_beliefs_have_no_line() -> None:
    grid, *_ = averaged([(np.array([]), np.array([]))])
    assert len(grid) == 0


def test_beliefs_at_the_same_spending_keep_the_newest() -> None:
    grid, mean, _, _ = averaged([(np.array([1.0, 1.0]), np.array([0.2, 0.6]))])
    np.testing.assert_allclose(grid, [1])
    np.testing.assert_allclose(mean, [0.6])
