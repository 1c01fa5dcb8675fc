"""The compiled search alone, on functions whose minima are known."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

Numbers = NDArray[np.float64]
Function = Callable[[Numbers], tuple[float, Numbers]]

ROOT = Path(__file__).parents[3]
SHIM = """
#include "lbfgs.h"
extern "C" double search(double (*f)(const double*, double*), int64_t n, const double* low,
                         const double* high, double* x, int64_t max_iter, int64_t max_evaluations,
                         int64_t* counts) {
  jobs_bench::LbfgsOptions options;
  options.max_iter = max_iter;
  options.max_evaluations = max_evaluations;
  options.gradient_tol = 1e-7;
  options.decrease_tol = 1e-14;
  const auto out = jobs_bench::lbfgs(f, n, low, high, x, options);
  counts[0] = out.iterations;
  counts[1] = out.evaluations;
  counts[2] = static_cast<int64_t>(out.stop);
  return out.value;
}
"""
POINTER = ctypes.POINTER(ctypes.c_double)
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_double, POINTER, POINTER)
GRADIENT, DECREASE, ITERATIONS, EVALUATIONS, SEARCH, START = range(6)


class Found(NamedTuple):
    x: Numbers
    value: float
    evaluations: int
    stop: int


Search = Callable[..., Found]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("lbfgs")
    (folder / "shim.cpp").write_text(SHIM)
    source = ROOT / "csrc" / "cpu"
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{source}"]
    command += [str(folder / "shim.cpp"), str(source / "lbfgs.cpp"), "-o", str(folder / "lib.so")]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(folder / "lib.so"))
    library.search.restype = ctypes.c_double

    def run(
        f: Function,
        x: Numbers,
        low: float | Numbers = -math.inf,
        high: float | Numbers = math.inf,
        *,
        max_iter: int = 500,
        max_evaluations: int = 2000,
    ) -> Found:
        x = np.array(x, dtype=float)
        ends = [np.array(np.broadcast_to(end, x.shape), dtype=float) for end in (low, high)]
        seen = 0

        def call(at: object, into: object) -> float:
            nonlocal seen
            seen += 1
            point = np.ctypeslib.as_array(at, x.shape).copy()
            assert bool(((ends[0] <= point) & (point <= ends[1])).all())  # never outside
            value, gradient = f(point)
            np.ctypeslib.as_array(into, x.shape)[:] = gradient
            return value

        counts = (ctypes.c_int64 * 3)()
        pointers = [end.ctypes.data_as(POINTER) for end in (*ends, x)]
        limits = ctypes.c_int64(max_iter), ctypes.c_int64(max_evaluations)
        size = ctypes.c_int64(len(x))
        value = library.search(CALLBACK(call), size, *pointers, *limits, counts)
        assert counts[1] == seen
        return Found(x, value, seen, counts[2])

    return run


def rosenbrock(x: Numbers) -> tuple[float, Numbers]:
    return float(optimize.rosen(x)), np.asarray(optimize.rosen_der(x))


@pytest.mark.parametrize("n", [2, 5, 20])
def test_rosenbrock(search: Search, n: int) -> None:
    out = search(rosenbrock, np.full(n, -1.2))
    assert out.stop in (GRADIENT, DECREASE)
    assert out.value == pytest.approx(0.0, abs=1e-10) or n > 2  # n > 2: another minimum near -1
    assert float(np.abs(rosenbrock(out.x)[1]).max()) < 1e-4
    assert search(rosenbrock, np.full(n, 2.0)).x == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 15), bent=st.floats(0.0, 3.0))
def test_convex_functions_in_boxes(search: Search, seed: int, n: int, bent: float) -> None:
    """Of a convex function the box has one minimum, found by scipy as well."""
    g = np.random.default_rng(seed)
    A = g.normal(size=(n, n))
    A = A @ A.T / n + 0.05 * np.eye(n)
    b = 3 * g.normal(size=n)

    def f(x: Numbers) -> tuple[float, Numbers]:
        soft = np.logaddexp(0, bent * x)
        slope = bent / (1 + np.exp(-np.clip(bent * x, -500, 500)))
        return float(0.5 * x @ A @ x - b @ x + soft.sum()), A @ x - b + slope

    low = np.where(g.random(n) < 0.3, -np.inf, -g.random(n))
    high = np.where(g.random(n) < 0.3, np.inf, low + g.random(n) * 2)
    high = np.where(np.isfinite(low), high, g.random(n))
    out = search(f, g.normal(size=n), low, high)
    moved = np.clip(out.x - f(out.x)[1], low, high) - out.x
    assert float(np.abs(moved).max()) < 1e-4
    want = optimize.minimize(
        f, out.x, jac=True, method="L-BFGS-B", bounds=optimize.Bounds(low, high)
    )
    assert out.value == pytest.approx(want.fun, rel=1e-8, abs=1e-8)


def test_walls_turn_it_back(search: Search) -> None:
    """Undefined beyond 1, where the minimum is close; and a wall seen as infinite."""
    for beyond in (math.nan, math.inf):

        def f(x: Numbers, beyond: float = beyond) -> tuple[float, Numbers]:
            if x[0] >= 1:
                return beyond, np.zeros(1)
            return float(-x[0] - 0.01 * math.log(1 - x[0])), -1 + 0.01 / (1 - x)

        out = search(f, np.array([-3.0]))
        assert out.x == pytest.approx(0.99, abs=1e-5)


def test_nothing_at_the_start(search: Search) -> None:
    out = search(lambda x: (math.nan, np.zeros_like(x)), np.array([2.0, 3.0]))
    assert out.stop == START
    assert out.evaluations == 1
    assert out.x.tolist() == [2.0, 3.0]


def test_limits(search: Search) -> None:
    start = np.full(10, -1.2)
    few = search(rosenbrock, start, max_evaluations=7)
    assert few.stop == EVALUATIONS
    assert few.evaluations == 7
    assert few.value < rosenbrock(start)[0]
    assert search(rosenbrock, start, max_iter=3).stop == ITERATIONS
    assert search(rosenbrock, start, max_iter=0).x.tolist() == start.tolist()


def test_a_start_outside_is_moved_in_and_a_fixed_variable_stays(search: Search) -> None:
    out = search(rosenbrock, np.array([9.0, 9.0]), np.array([-1.0, 0.25]), np.array([2.0, 0.25]))
    assert out.x == pytest.approx([0.5, 0.25], abs=0.02)
    assert out.x[1] == 0.25


def test_wrong_gradients_end_without_harm(search: Search) -> None:
    """No descent along what is said to be downhill: it stops where it is, and says so."""
    out = search(lambda x: (float(x @ x), -2 * x), np.array([1.0, 1.0]))
    assert out.stop == SEARCH
    assert out.x.tolist() == [1.0, 1.0]
