"""The CUDA kernels of the Gaussian process operators agree with the CPU's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jobs_bench import ops
from jobs_bench.ops import GpFidelity, GpSpec, GpTerm

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available() or "CUDA" not in ops.native_backends(),
        reason="no CUDA device, or no CUDA build",
    ),
]

OPS = torch.ops.jobs_bench
D = 6
SPECS = {
    "mixed": GpSpec.product("matern52", (0, 2, 3, 5), (1, 4)),
    "sum": GpSpec(
        (
            GpTerm("rbf", (0, 2), (1,), (GpFidelity("decay", 5), GpFidelity("truncated", 3))),
            GpTerm("matern12", (0, 3), (), (GpFidelity("linear_truncated", 5),)),
        ),
        roots=(2, 3),
    ),
}
Data = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _rows(n: int, models: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    X = torch.rand((models, n, D), generator=g, dtype=torch.float64)
    X[..., (1, 4)] = (X[..., (1, 4)] * 3).floor()
    return X


def _data(spec: GpSpec, n: int, models: int) -> Data:
    g = torch.Generator().manual_seed(7)
    y = torch.randn((models, n), generator=g, dtype=torch.float64)
    theta = 0.3 + torch.rand((models, spec.size), generator=g, dtype=torch.float64)
    noise = 0.05 + torch.rand((models, n if n % 2 else 1), generator=g, dtype=torch.float64)
    mean = torch.randn(models, generator=g, dtype=torch.float64)
    return _rows(n, 1 if n % 2 else models, 1), y, theta, noise, mean


def _there(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    return [t.cuda() for t in tensors]


def _close(got: tuple[Tensor, ...], want: tuple[Tensor, ...], rtol: float = 1e-10) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.is_cuda
        atol = rtol * float(w.abs().max()) if w.numel() else 0.0
        torch.testing.assert_close(g.cpu(), w, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    ("n", "models"), [(0, 2), (1, 1), (33, 200), (128, 3), (129, 2), (1100, 1)]
)
def test_likelihood(name: str, n: int, models: int) -> None:
    spec = SPECS[name]
    data = _data(spec, n, models)
    for x_grad in (True, False):
        got = OPS.gp_mll(*_there(data), spec.code, x_grad)
        _close(got, OPS.gp_mll(*data, spec.code, x_grad))
        for a, b in zip(got, OPS.gp_mll(*_there(data), spec.code, x_grad), strict=True):
            assert torch.equal(a, b), "not the same bits twice"


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("n", [0, 1, 70, 128, 300])
def test_posterior(name: str, n: int) -> None:
    spec = SPECS[name]
    data = _data(spec, n, 2)
    state, there = OPS.gp_condition(*data, spec.code), OPS.gp_condition(*_there(data), spec.code)
    _close(there, state)
    X, _, theta, _, mean = data
    for q in (0, 1, 50):
        query = (_rows(q, 2, 9), X, theta, mean, *state[:2])
        _close(OPS.gp_posterior(*_there(query), spec.code), OPS.gp_posterior(*query, spec.code))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("n", [0, 1, 33, 700])
def test_covariance_has_the_cpus_bits(name: str, n: int) -> None:
    spec = SPECS[name]
    theta = _data(spec, 1, 2)[2]
    X1, X2 = _rows(n, 2, 3), _rows(45, 1, 4)
    K = OPS.gp_kernel(*_there((X1, X2, theta)), spec.code)
    assert torch.equal(K.cpu(), OPS.gp_kernel(X1, X2, theta, spec.code))
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    args = (grad, X1, X2, theta)
    for x_grad in (True, False):
        _close(
            OPS.gp_kernel_backward(*_there(args), spec.code, x_grad),
            OPS.gp_kernel_backward(*args, spec.code, x_grad),
        )


def test_jitter_and_its_absence() -> None:
    spec = SPECS["mixed"]
    for n in (40, 150):
        X, y, theta, noise, mean = _data(spec, n, 2)
        X[1, 1::2] = X[1, ::2]
        noise[1] = 1e-18
        data = (X, y, theta, noise, mean)
        jitter = OPS.gp_mll(*_there(data), spec.code, True)[1]
        assert jitter.tolist() == [0.0, 1e-10 * float(theta[1, -1])]
        noise[1] = -2.0
        with pytest.raises(RuntimeError, match="model 1 not positive definite"):
            OPS.gp_mll(*_there(data), spec.code, True)


def test_public_functions_and_gradients_on_a_stream() -> None:
    spec = SPECS["sum"]
    X, y, theta, noise, mean = _data(spec, 60, 2)
    want_in = [t.clone().requires_grad_() for t in (X, y, theta, noise, mean)]
    got_in = [t.cuda().requires_grad_() for t in (X, y, theta, noise, mean)]
    want = ops.gp_mll(want_in[0], want_in[1], want_in[2], want_in[3], want_in[4], spec)
    want.value.sum().backward()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = ops.gp_mll(got_in[0], got_in[1], got_in[2], got_in[3], got_in[4], spec)
        got.value.sum().backward()
    stream.synchronize()
    _close((got.value.detach(),), (want.value.detach(),))
    for g, w in zip(got_in, want_in, strict=True):
        assert g.grad is not None
        assert w.grad is not None
        _close((g.grad,), (w.grad,))


def test_tensors_on_two_devices_are_refused() -> None:
    spec = SPECS["mixed"]
    X, y, theta, noise, mean = _data(spec, 5, 1)
    with pytest.raises(RuntimeError, match="got y elsewhere than theta"):
        OPS.gp_mll(X.cuda(), y, theta.cuda(), noise.cuda(), mean.cuda(), spec.code, True)
