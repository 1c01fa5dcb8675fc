"""The CUDA kernels of the Gaussian process operators, run on the host: see gp_emulated.cpp."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jobs_bench.ops import GpFidelity, GpSpec, GpTerm, native_backends
from jobs_bench.ops import _gp_reference as reference

ROOT = Path(__file__).parents[3]
D = 6
SPECS = {
    "mixed": GpSpec.product("matern52", (0, 2, 3, 5), (1, 4)),
    "rough": GpSpec.product("matern12", (0, 2), (1,), roots=(0, 2)),
    "names": GpSpec.product("matern32", (), (1, 4)),
    "sum": GpSpec(
        (
            GpTerm("rbf", (0, 2), (1,), (GpFidelity("decay", 5), GpFidelity("truncated", 3))),
            GpTerm("matern32", (0, 3), (), (GpFidelity("linear_truncated", 5),)),
        ),
        roots=(2, 3),
    ),
}
Data = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
SIZES = (0, 1, 31, 32, 33, 100, 129, 200)  # to 128 one block a model, above that a grid


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler")
    out = tmp_path_factory.mktemp("emulated") / "gp.so"
    flags = ["-std=c++20", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-o", str(out)]
    sources = [Path(__file__).parent / "gp_emulated.cpp", ROOT / "csrc" / "cpu" / "gp_spec.cpp"]
    subprocess.run([compiler, *flags, *map(str, sources)], check=True)
    return ctypes.CDLL(str(out))


def _call(function: Callable[..., object], *args: object) -> None:
    """Call with tensors and lists as addresses; the tensors must be contiguous."""
    keep: list[object] = []
    for x in args:
        if isinstance(x, Tensor):
            assert x.is_contiguous()
            keep.append(ctypes.c_void_p(x.data_ptr()))
        elif isinstance(x, list):
            keep.append((ctypes.c_int64 * len(x))(*x))
        elif isinstance(x, bool) or x is None:
            keep.append(x)
        else:
            assert isinstance(x, int)
            keep.append(ctypes.c_int64(x))
    function(*keep)


def _step(t: Tensor) -> int:
    return 0 if t.shape[0] == 1 else t[0].numel()


def _rows(n: int, models: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    X = torch.rand((models, n, D), generator=g, dtype=torch.float64)
    X[..., (1, 4)] = (X[..., (1, 4)] * 3).floor()
    return X


def _data(spec: GpSpec, n: int, models: int, points: bool) -> Data:
    g = torch.Generator().manual_seed(7)
    y = torch.randn((models, n), generator=g, dtype=torch.float64)
    theta = 0.3 + torch.rand((models, spec.size), generator=g, dtype=torch.float64)
    noise = 0.05 + torch.rand((models, n if points else 1), generator=g, dtype=torch.float64)
    mean = torch.randn(models, generator=g, dtype=torch.float64)
    return _rows(n, 1 if n % 2 else models, 1), y, theta, noise, mean


def _close(got: Tensor, want: Tensor, rtol: float = 1e-10) -> None:
    atol = rtol * float(want.abs().max()) if want.numel() else 0.0
    torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


def _regression(
    library: ctypes.CDLL, spec: GpSpec, data: Data, *, mll: bool, backwards: bool
) -> tuple[list[Tensor], Tensor]:
    """Return what `gp_mll` or `gp_condition` returns, and the state."""
    X, y, theta, noise, mean = data
    M, n = y.shape
    nan = math.nan
    f = theta.new_full
    value, jitter, state = f((M,), nan), f((M,), nan), f((M, 2), nan)
    gX, gtheta = f((M, n, D), nan), f(theta.shape, nan)
    gy, gnoise, gmean = f((M, n), nan), f(noise.shape, nan), f((M,), nan)
    inverse, alpha = f((M, n, n), nan), f((M, n), nan)
    out = [value, jitter, gX, gy, gtheta, gnoise, gmean] if mll else [inverse, alpha, jitter]
    grads = [gX, gy, gtheta, gnoise, gmean] if mll else [None] * 5
    state_of = [None, None] if mll else [inverse, alpha]
    _call(
        library.regression, spec.code, len(spec.code), M, n, D, X, _step(X), y, _step(y), theta,
        noise, noise.shape[1], mean, value if mll else None, jitter, *grads, *state_of, state,
        backwards,
    )  # fmt: skip
    return out, state


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("n", SIZES)
def test_regression_is_the_references(library: ctypes.CDLL, name: str, n: int) -> None:
    spec = SPECS[name]
    for points in (False, True):
        data = _data(spec, n, 2, points)
        for mll, want in (
            (True, reference.likelihood(*data, spec.code, True)),
            (False, reference.condition(*data, spec.code)),
        ):
            forwards, state = _regression(library, spec, data, mll=mll, backwards=False)
            turned, _ = _regression(library, spec, data, mll=mll, backwards=True)
            assert state.tolist() == [[0.0, -1.0]] * 2
            for g, t, w in zip(forwards, turned, want, strict=True):
                assert torch.equal(g, t), "a phase depends on the order of its calls"
                _close(g, w)


@pytest.mark.parametrize("n", [40, 150])
def test_jitter_and_its_absence_are_the_references(library: ctypes.CDLL, n: int) -> None:
    """Points that coincide want jitter; one model may need more than the other, or too much."""
    spec = SPECS["mixed"]
    X, y, theta, noise, mean = _data(spec, n, 3, False)
    X = X.expand(3, n, D).clone()
    X[1, 1::2] = X[1, ::2]
    noise = torch.tensor([[1e-3], [1e-18], [0.1]], dtype=torch.float64)
    (_, jitter, *_), state = _regression(
        library, spec, (X, y, theta, noise, mean), mll=True, backwards=False
    )
    assert jitter.tolist() == [0.0, 1e-10 * float(theta[1, -1]), 0.0]
    assert state[:, 0].tolist() == [0.0, 1.0, 0.0]
    want = reference.likelihood(X[2:], y[2:], theta[2:], noise[2:], mean[2:], spec.code, True)
    got, _ = _regression(library, spec, (X, y, theta, noise, mean), mll=True, backwards=False)
    for g, w in zip(got, want, strict=True):
        _close(g[2:], w)

    noise[1] = -2.0  # not what the operators let through, but nothing else stays indefinite
    (value, *_), state = _regression(
        library, spec, (X, y, theta, noise, mean), mll=True, backwards=True
    )
    assert state[1, 0] == -1.0
    assert 0 <= state[1, 1] < n
    assert torch.isfinite(value[[0, 2]]).all()


def test_a_gradient_that_is_not_finite_is_reported(library: ctypes.CDLL) -> None:
    spec = SPECS["mixed"]
    X, y, theta, noise, mean = _data(spec, 20, 2, False)
    y[1] *= 1e200
    _, state = _regression(library, spec, (X, y, theta, noise, mean), mll=True, backwards=False)
    assert state[:, 1].tolist() == [-1.0, -2.0]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("n", [0, 1, 33, 70])
def test_covariance_is_the_native_one_bit_for_bit(library: ctypes.CDLL, name: str, n: int) -> None:
    spec = SPECS[name]
    _, _, theta, _, _ = _data(spec, 1, 2, False)
    X1, X2 = _rows(n, 2, 3), _rows(45, 1, 4)
    X2[0, : min(n, 5)] = X1[0, : min(n, 5)]
    grad = torch.randn((2, n, 45), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    want = reference.covariance_backward(grad, X1, X2, theta, spec.code, True)
    previous: list[Tensor] = []
    for backwards in (False, True):
        K = theta.new_full(grad.shape, math.nan)
        grads = [theta.new_full(t.shape, math.nan) for t in (X1, X2.expand(2, 45, D), theta)]
        where = (spec.code, len(spec.code), 2, n, 45, D, X1, _step(X1), X2, 0, theta)
        _call(library.covariance, *where, K, None, None, None, None, backwards)
        _call(library.covariance, *where, None, grad, *grads, backwards)
        _close(K, reference.covariance(X1, X2, theta, spec.code), 1e-13)
        native = torch.ops.jobs_bench.gp_kernel(X1, X2, theta, spec.code)
        if "CPU" in native_backends():
            assert torch.equal(K, native)
        for g, w in zip(grads, want, strict=True):
            _close(g, w)
        for g, p in zip([K, *grads], previous, strict=False):
            assert torch.equal(g, p), "a phase depends on the order of its calls"
        previous = [K, *grads]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("n", "q"), [(0, 3), (1, 33), (70, 40), (130, 1), (20, 0)])
def test_posterior_is_the_references(library: ctypes.CDLL, name: str, n: int, q: int) -> None:
    spec = SPECS[name]
    X, y, theta, noise, mean = _data(spec, n, 2, False)
    inverse, alpha, _ = reference.condition(X, y, theta, noise, mean, spec.code)
    Xq = _rows(q, 2, 9)
    Xq[:, : min(n, q, 2)] = X[:, : min(n, q, 2)]
    want = reference.posterior(Xq, X, theta, mean, inverse, alpha, spec.code)
    previous: list[Tensor] = []
    for backwards in (False, True):
        out = [theta.new_full(w.shape, math.nan) for w in want]
        state = theta.new_full((2, -(-q // 32)), math.nan)
        _call(
            library.query, spec.code, len(spec.code), 2, q, n, D, Xq, _step(Xq), X, _step(X),
            theta, mean, inverse.contiguous(), alpha.contiguous(), *out, state, backwards,
        )  # fmt: skip
        assert not state.any()
        for g, w in zip(out, want, strict=True):
            _close(g, w)
        for g, p in zip(out, previous, strict=False):
            assert torch.equal(g, p), "a phase depends on the order of its calls"
        previous = out
