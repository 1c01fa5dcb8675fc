from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._simplex import project_simplex, reference_project_simplex


@st.composite
def problems(draw: st.DrawFn, most: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    k = draw(st.integers(1, most))
    low = np.array(draw(st.lists(st.sampled_from([0.0, 0.01, 0.05]), min_size=k, max_size=k)))
    high = np.array(draw(st.lists(st.sampled_from([0.1, 0.4, 1.0]), min_size=k, max_size=k)))
    assume(low.sum() <= 1 <= high.sum())
    numbers = st.floats(-1e3, 1e3) | st.sampled_from([0.0, 0.25, 1.0])
    rows = draw(st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=1, max_size=3))
    return torch.tensor(rows).double(), torch.from_numpy(low), torch.from_numpy(high)


@settings(max_examples=60)
@given(problems())
def test_projection_is_feasible_idempotent_and_the_references(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    rows, low, high = problem
    out = project_simplex(rows, low, high)
    size = 1 + float(rows.abs().max())
    torch.testing.assert_close(
        out.sum(1), torch.ones(len(rows)).double(), rtol=0, atol=1e-12 * size
    )
    assert bool((out >= low).all() and (out <= high).all())
    torch.testing.assert_close(project_simplex(out, low, high), out, rtol=0, atol=1e-12 * size)
    want = reference_project_simplex(rows, low, high)
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12 * size)


@settings(max_examples=40)
@given(problems(), st.integers(0, 2**32 - 1))
def test_no_feasible_point_is_nearer(problem: tuple[Tensor, Tensor, Tensor], seed: int) -> None:
    rows, low, high = problem
    out = project_simplex(rows, low, high)
    other = np.random.default_rng(seed).dirichlet(np.ones(rows.shape[1]), 50)
    others = project_simplex(torch.from_numpy(other), low, high)
    # the angle between what was taken away and any way on is not acute
    inner = (rows - out) @ others.T - ((rows - out) * out).sum(1, keepdim=True)
    assert float(inner.max()) <= 1e-9 * (1 + float(rows.abs().max())) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_point_that_scipy_finds(seed: int) -> None:
    g = np.random.default_rng(seed)
    x, high = g.normal(size=6), np.array([0.2, 0.3, 1.0, 0.5, 1.0, 0.1])
    low = np.array([0.0, 0.05, 0.0, 0.1, 0.0, 0.0])
    got = project_simplex(torch.from_numpy(x[None]), torch.from_numpy(low), torch.from_numpy(high))

    def distance(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return float(((w - x) ** 2).sum()), 2 * (w - x)

    want = minimize(
        distance,
        np.ones(6, dtype=np.float64) / 6,
        jac=True,
        method="SLSQP",
        bounds=list(zip(low, high, strict=True)),
        constraints=[LinearConstraint(np.ones(6), 1.0, 1.0)],
        options={"ftol": 1e-14, "maxiter": 200},
    )
    np.testing.assert_allclose(got[0], want.x, atol=1e-6)


def test_bounds_that_nothing_fits_are_refused() -> None:
    rows = torch.zeros((2, 3), dtype=torch.float64)
    with pytest.raises(DataError, match=r"sum to 0 and 0.9"):
        project_simplex(rows, torch.zeros(3).double(), torch.full((3,), 0.3).double())
    with pytest.raises(DataError, match=r"sum to 1.5 and 3"):
        project_simplex(rows, torch.full((3,), 0.5).double(), torch.ones(3).double())
    with pytest.raises(DataError, match=r"got low \(2,\)|got rows \(2, 3\).*wanted \(2, 2\)"):
        project_simplex(rows, torch.zeros(2).double(), torch.ones(3).double())
    with pytest.raises(DataError, match="got rows with nan; wanted finite"):
        project_simplex(rows / 0, torch.zeros(3).double(), torch.ones(3).double())
