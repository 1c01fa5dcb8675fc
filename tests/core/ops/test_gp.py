from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import gpytorch
import pytest
import torch
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from botorch.models.kernels import ExponentialDecayKernel
from gpytorch.kernels import MaternKernel, ScaleKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops import GpFidelity, GpSpec, GpTerm
from jobs_bench.ops import _gp_reference as reference
from jobs_bench.ops._gp_spec import FORMS, KINDS

SMOOTH, NAMES, D = (0, 2, 3, 5), (1, 4), 6
OPS = torch.ops.jobs_bench

Data = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

EVERYTHING = GpSpec(
    (
        GpTerm("matern52", (0, 2), (1,), (GpFidelity("decay", 5),)),
        GpTerm(
            "rbf", (3,), (4, 1), (GpFidelity("truncated", 5), GpFidelity("linear_truncated", 2))
        ),
        GpTerm("matern32", (0, 2, 3), (), (GpFidelity("linear_truncated", 5),)),
        GpTerm("matern12", (), (4,)),
    ),
    roots=(2, 3),
)


def spec(kind: str = "matern52") -> GpSpec:
    return GpSpec.product(kind, SMOOTH, NAMES)


def rows(n: int, models: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    X = torch.rand((models, n, D), generator=g, dtype=torch.float64)
    for k in NAMES:
        X[..., k] = (X[..., k] * 3).floor()
    return X


def data(
    n: int,
    models: int = 2,
    *,
    points: bool = False,
    shared: bool = False,
    what: GpSpec | None = None,
) -> Data:
    g = torch.Generator().manual_seed(7)
    X = rows(n, 1 if shared else models, 1)
    y = torch.randn((models, n), generator=g, dtype=torch.float64)
    size = (what or spec()).size
    theta = 0.3 + torch.rand((models, size), generator=g, dtype=torch.float64)
    noise = 0.05 + torch.rand((models, n if points else 1), generator=g, dtype=torch.float64)
    return X, y, theta, noise, torch.randn(models, generator=g, dtype=torch.float64)


def assert_close(got: Tensor, want: Tensor, rtol: float = 1e-12) -> None:
    assert got.shape == want.shape
    atol = rtol * float(want.abs().max()) if want.numel() else 0.0
    torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SIZES = (0, 1, 3, 16, 37, 64, 133)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_native_covariance_is_the_references(native: None, kind: str, n: int) -> None:
    X1, _, theta, _, _ = data(n)
    X2 = rows(21, 1, 5)
    X2[0, : min(n, 5)] = X1[0, : min(n, 5)]  # coincident points
    code = spec(kind).code
    K = OPS.gp_kernel(X1, X2, theta, code)
    assert_close(K, reference.covariance(X1, X2, theta, code), 1e-13)
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    for x_grad in (True, False):
        got = OPS.gp_kernel_backward(grad, X1, X2, theta, code, x_grad)
        want = reference.covariance_backward(grad, X1, X2, theta, code, x_grad)
        for g, w in zip(got, want, strict=True):
            assert_close(g, w)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("points", [False, True])
def test_native_likelihood_is_the_references(native: None, kind: str, n: int, points: bool) -> None:
    args = data(n, points=points, shared=n % 2 == 1)
    for x_grad in (True, False):
        got = OPS.gp_mll(*args, spec(kind).code, x_grad)
        want = reference.likelihood(*args, spec(kind).code, x_grad)
        for g, w in zip(got, want, strict=True):
            assert_close(g, w)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_native_posterior_is_the_references(native: None, kind: str, n: int) -> None:
    args = data(n)
    X, _, theta, _, mean = args
    state = OPS.gp_condition(*args, spec(kind).code)
    want_state = reference.condition(*args, spec(kind).code)
    for g, w in zip(state, want_state, strict=True):
        assert_close(g, w)
    for q in (0, 1, 70):
        query = (rows(q, 2, 9), X, theta, mean, *want_state[:2])
        got = OPS.gp_posterior(*query, spec(kind).code)
        for g, w in zip(got, reference.posterior(*query, spec(kind).code), strict=True):
            assert_close(g, w)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_covariance_is_the_textbooks(kind: str) -> None:
    X, _, theta, _, _ = data(5, 1)
    K = reference.covariance(X, X, theta, spec(kind).code)
    ls, w, scale = theta[0, :4].tolist(), theta[0, 4:6].tolist(), float(theta[0, 6])
    for i in range(5):
        for j in range(5):
            a, b = X[0, i].tolist(), X[0, j].tolist()
            r = math.sqrt(sum(((a[c] - b[c]) / x) ** 2 for c, x in zip(SMOOTH, ls, strict=True)))
            h = sum(x * (a[c] != b[c]) for c, x in zip(NAMES, w, strict=True))
            t = {"matern32": math.sqrt(3) * r, "matern52": math.sqrt(5) * r}.get(kind, r)
            radial = {
                "matern12": math.exp(-r),
                "matern32": (1 + t) * math.exp(-t),
                "matern52": (1 + t + t * t / 3) * math.exp(-t),
                "rbf": math.exp(-r * r / 2),
            }[kind]
            assert float(K[0, i, j]) == pytest.approx(scale * radial * math.exp(-h), rel=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_gradients_are_autograds(kind: str) -> None:
    """The covariance by autograd; the likelihood as a normal density, by autograd too."""
    X, y, theta, noise, mean = (t.requires_grad_() for t in data(9, points=True))
    Z = rows(4, 2, 5).requires_grad_()
    code = spec(kind).code
    K = reference.covariance(X, Z, theta, code)
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    want = torch.autograd.grad(K, (X, Z, theta), grad)
    with torch.no_grad():
        got = reference.covariance_backward(grad, X, Z, theta, code, True)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w)
    cov = reference.covariance(X, X, theta, code) + torch.diag_embed(noise)
    center = mean.unsqueeze(-1).expand_as(y)
    normal = torch.distributions.MultivariateNormal(center, cov, validate_args=False)
    value = normal.log_prob(y)
    inputs = (X, y, theta, noise, mean)
    with torch.no_grad():
        out = reference.likelihood(*inputs, code, True)
    assert_close(out[0], value.detach())
    for g, w in zip(out[2:], torch.autograd.grad(value.sum(), inputs), strict=True):
        assert_close(g, w)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: str) -> None:
    X, y, theta, noise, mean = data(6, points=True, shared=True)
    smooth = X[..., list(SMOOTH)].clone().requires_grad_()
    what = GpSpec.product(kind, (0, 1, 2, 3))
    theta = theta[:, [0, 1, 2, 3, 6]].clone()
    other = rows(3, 2, 4)[..., list(SMOOTH)].clone().requires_grad_()
    for t in (y, theta, noise, mean):
        t.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda a, b, t: ops.gp_kernel(a[0], b, t, what), (smooth, other, theta))
    assert check(
        lambda X, *a: ops.gp_mll(X[0], a[0], a[1], a[2], a[3], what).value,
        (smooth, y, theta, noise, mean),
    )
    state = ops.gp_condition(smooth[0], y, theta, noise, mean, what)
    assert check(lambda q: ops.gp_posterior(state, q), (other,))


def test_gradcheck_of_hamming_weights() -> None:
    X, y, theta, noise, mean = data(8, 1)
    theta = theta[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: ops.gp_mll(X[0], y[0], t, noise[0, 0], mean[0], spec()).value, (theta,)
    )
    assert torch.autograd.gradcheck(lambda t: ops.gp_kernel(X[0], X[0], t, spec()), (theta,))


def test_registration() -> None:
    X, y, theta, noise, mean = (t.requires_grad_() for t in data(5))
    code = spec().code
    opcheck = torch.library.opcheck
    opcheck(OPS.gp_kernel.default, (X, rows(3, 2, 4).requires_grad_(), theta, code))
    opcheck(OPS.gp_mll.default, (X, y, theta, noise, mean, code, True))
    plain = tuple(t.detach() for t in (X, y, theta, noise, mean))
    opcheck(OPS.gp_condition.default, (*plain, code))
    inverse, alpha, _ = OPS.gp_condition(*plain, code)
    query = rows(4, 2, 2).requires_grad_()
    known = (plain[0], plain[2], plain[4], inverse, alpha)
    opcheck(OPS.gp_posterior.default, (query, *known, code))
    grad = torch.ones((2, 5, 5), dtype=torch.float64)
    opcheck(OPS.gp_kernel_backward.default, (grad, plain[0], plain[0], plain[2], code, True))


def test_what_has_no_gradient_says_so() -> None:
    X, y, theta, noise, mean = data(4, 1)
    want = theta.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="x_grad=False"):
        ops.gp_mll(
            X[0].clone().requires_grad_(), y[0], want[0], noise[0, 0], mean[0], spec(), x_grad=False
        ).value.backward()
    K = ops.gp_kernel(X[0], X[0], want[0], spec())
    (g,) = torch.autograd.grad(K.sum(), want, create_graph=True)
    with pytest.raises(RuntimeError, match="has none"):
        g.sum().backward()
    out = ops.gp_mll(X[0], y[0], want[0], noise[0, 0], mean[0], spec())
    assert out.value.requires_grad
    assert not out.theta.requires_grad


def test_many_models_are_each_alone() -> None:
    X, y, theta, noise, mean = data(12, 3, shared=True)
    together = ops.gp_mll(X[0], y, theta, noise, mean, spec(), x_grad=True)
    state = ops.gp_condition(X[0], y, theta, noise, mean, spec())
    query = rows(5, 1, 3)[0]
    posterior = ops.gp_posterior(state, query)
    K = ops.gp_kernel(X[0], query, theta, spec())
    for m in range(3):
        one = (X[0], y[m], theta[m], noise[m, 0], mean[m])
        alone = ops.gp_mll(*one, spec(), x_grad=True)
        for name in ("value", "jitter", "X", "y", "theta", "mean"):
            assert torch.equal(getattr(alone, name), getattr(together, name)[m])
        assert torch.equal(alone.noise, together.noise[m, 0])
        single = ops.gp_posterior(ops.gp_condition(*one, spec()), query)
        assert torch.equal(single[0], posterior[0][m])
        assert torch.equal(single[1], posterior[1][m])
        assert torch.equal(ops.gp_kernel(X[0], query, theta[m], spec()), K[m])


def test_posterior_is_that_of_the_joint_normal() -> None:
    X, y, theta, noise, mean = data(20, 1)
    Q = rows(6, 1, 3)
    K, Kq = (reference.covariance(A, X, theta, spec().code)[0] for A in (X, Q))
    K = K + noise[0] * torch.eye(20, dtype=K.dtype)
    weights = torch.linalg.solve(K, Kq.mT).mT
    state = ops.gp_condition(X[0], y[0], theta[0], noise[0, 0], mean[0], spec())
    mu, variance = ops.gp_posterior(state, Q[0])
    assert_close(mu, mean + weights @ (y[0] - mean), 1e-11)
    assert_close(variance, theta[0, -1] - (weights * Kq).sum(1), 1e-11)


def test_no_data_and_constant_data() -> None:
    X, y, theta, noise, mean = data(0, 1)
    out = ops.gp_mll(X[0], y[0], theta[0], noise[0, 0], mean[0], spec(), x_grad=True)
    assert float(out.value) == 0
    assert not out.theta.any()
    state = ops.gp_condition(X[0], y[0], theta[0], noise[0, 0], mean[0], spec())
    mu, variance = ops.gp_posterior(state, rows(3, 1, 1)[0])
    assert torch.equal(mu, mean.expand(3))
    assert torch.equal(variance, theta[0, -1:].expand(3))
    X, y, theta, noise, mean = data(15, 1)
    y = torch.full_like(y[0], 4.0)
    out = ops.gp_mll(X[0], y, theta[0], noise[0, 0], torch.tensor(4.0).double(), spec())
    assert not out.y.any()
    assert not out.mean.any()
    assert bool(torch.isfinite(out.theta).all())


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_take_jitter_and_report_it(kind: str) -> None:
    X, y, theta, noise, mean = data(40, 1)
    X = torch.cat([X, X], 1)[0]
    y = torch.cat([y, y], 1)[0]
    tiny = torch.tensor(1e-18).double()
    out = ops.gp_mll(X, y, theta[0], tiny, mean[0], spec(kind), x_grad=True)
    assert float(out.jitter) == pytest.approx(1e-10 * float(theta[0, -1]))
    assert all(bool(torch.isfinite(t).all()) for t in out)
    fine = ops.gp_mll(X, y, theta[0], noise[0, 0], mean[0], spec(kind))
    assert float(fine.jitter) == 0
    state = ops.gp_condition(X, y, theta[0], tiny, mean[0], spec(kind))
    assert float(state.jitter) == float(out.jitter)
    mu, variance = ops.gp_posterior(state, X)
    assert float((mu - y).abs().max()) < 1e-3
    assert bool((variance >= 0).all())


def test_jitter_is_part_of_the_gradient() -> None:
    X, y, theta, _, mean = data(6, 1)
    X, y = torch.cat([X, X], 1)[0], torch.cat([y, y], 1)[0]
    tiny = torch.tensor(1e-18).double()
    scale = theta[0].clone()
    out = ops.gp_mll(X, y, scale, tiny, mean[0], spec())
    up, down = scale.clone(), scale.clone()
    up[-1] *= 1 + 1e-3
    down[-1] *= 1 - 1e-3
    slope = sum(
        s * float(ops.gp_mll(X, y, t, tiny, mean[0], spec()).value)
        for s, t in ((1, up), (-1, down))
    ) / float(up[-1] - down[-1])
    assert float(out.theta[-1]) == pytest.approx(
        slope, rel=1e-2
    )  # jitter alone moves it by a third


def test_far_points_do_not_covary() -> None:
    X = torch.tensor([[0.0], [1.0], [1e100], [-1e100]], dtype=torch.float64)
    for kind in KINDS:
        theta = torch.tensor([1e-3, 2.0], dtype=torch.float64)
        K = ops.gp_kernel(X, X, theta, GpSpec.product(kind, (0,)))
        assert torch.equal(K, 2.0 * torch.eye(4, dtype=torch.float64))


def test_threads_do_not_change_a_bit(native: None) -> None:
    args = data(150, 3)
    X, _, theta, _, mean = args
    grad = torch.randn((3, 150, 150), generator=torch.Generator().manual_seed(0)).double()

    def everything() -> list[Tensor]:
        inverse, alpha, jitter = OPS.gp_condition(*args, spec().code)
        query = rows(200, 3, 2)
        known = (X, theta, mean, inverse, alpha)
        return [
            OPS.gp_kernel(X, X, theta, spec().code),
            *OPS.gp_kernel_backward(grad, X, X, theta, spec().code, True),
            *OPS.gp_mll(*args, spec().code, True),
            *(inverse, alpha, jitter),
            *OPS.gp_posterior(query, *known, spec().code),
        ]

    with threads(1):
        one = everything()
    for _ in range(3):
        with threads(2):
            two = everything()
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_strides_do_not_matter() -> None:
    X, y, theta, noise, mean = data(11, 1)
    turned = X[0].mT.contiguous().mT
    a = ops.gp_mll(X[0], y[0], theta[0], noise[0, 0], mean[0], spec())
    b = ops.gp_mll(turned, y[0], theta[0], noise[0, 0], mean[0], spec())
    assert torch.equal(a.value, b.value)
    assert torch.equal(a.theta, b.theta)


def likelihood(a: dict[str, Tensor]) -> ops.GpLikelihood:
    return ops.gp_mll(a["X"], a["y"], a["theta"], a["noise"], a["mean"], spec())


def one() -> dict[str, Tensor]:
    X, y, theta, noise, mean = data(4, 1)
    return {"X": X[0], "y": y[0], "theta": theta[0], "noise": noise[0, 0], "mean": mean[0]}


def with_entry(t: Tensor, value: float) -> Tensor:
    out = t.clone()
    out.view(-1)[0] = value
    return out


BAD = [
    ("noise", torch.tensor(0.0).double(), "got noise 0.0; wanted finite and above 0"),
    ("noise", torch.tensor(-1.0).double(), "got noise -1.0; wanted finite and above 0"),
    ("noise", torch.ones(3).double(), r"got noise \(3,\); wanted \(\) or \(4,\)"),
    ("y", torch.ones(5).double(), r"got y \(5,\); wanted \(4,\)"),
    ("y", torch.ones(4), "got y of torch.float32; wanted torch.float64"),
    ("X", torch.ones(4, 3).double(), "wanted at least 6 columns"),
    ("X", torch.ones(4).double(), r"got X \(4,\); wanted \(-1, -1\)"),
    ("theta", torch.ones(3).double(), r"got theta \(3,\); wanted \(7,\)"),
    (
        "theta",
        with_entry(one()["theta"], 0.0),
        r"got theta\[0\]\[0\] = 0.0, a lengthscale; wanted .*above 0",
    ),
    ("mean", torch.ones(1).double(), r"got mean \(1,\); wanted \(\)"),
    *[
        (name, with_entry(one()[name], bad), f"got {name}.* {bad}.*; wanted finite")
        for name in ("X", "y", "theta", "noise", "mean")
        for bad in (math.nan, math.inf)
    ],
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_arguments_that_do_not_fit_are_refused(name: str, value: Tensor, message: str) -> None:
    args = one() | {name: value}
    with pytest.raises(DataError, match=message):
        likelihood(args)
    with pytest.raises(DataError, match=message):
        ops.gp_condition(**args, spec=spec())
    if name == "theta":
        with pytest.raises(DataError, match=message):
            ops.gp_kernel(args["X"], args["X"], value, spec())


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_the_operator_itself_refuses_them(
    native: None, name: str, value: Tensor, message: str
) -> None:
    args = one() | {name: value}
    noise = args.pop("noise").reshape(1, -1)
    X, y, theta, mean = (t.unsqueeze(0) for t in args.values())
    with pytest.raises(RuntimeError, match="got"):
        OPS.gp_mll(X, y, theta, noise, mean, spec().code, False)


def test_queries_that_do_not_fit_are_refused() -> None:
    state = ops.gp_condition(**one(), spec=spec())
    for bad, message in (
        (torch.ones(2, 5).double(), r"got Xq \(2, 5\); wanted \(-1, 6\)"),
        (torch.full((2, 6), math.nan).double(), "wanted finite"),
        (torch.ones(2, 6), "wanted torch.float64"),
    ):
        with pytest.raises(DataError, match=message):
            ops.gp_posterior(state, bad)


def test_what_overflows_is_refused() -> None:
    X = torch.zeros((600, 1), dtype=torch.float64)
    theta = torch.tensor([1.0, 1.0], dtype=torch.float64)
    y = torch.full((600,), 1e300, dtype=torch.float64)
    y[::2] = -1e300
    with pytest.raises((DataError, RuntimeError), match="got"):
        ops.gp_mll(
            X,
            y,
            theta,
            torch.tensor(1e-3).double(),
            torch.tensor(0.0).double(),
            GpSpec.product("rbf", (0,)),
        )


def test_what_no_jitter_mends_is_refused() -> None:
    K = torch.tensor([[[1.0, 2.0], [2.0, 1.0]]], dtype=torch.float64)
    noise = torch.tensor([[1e-3]], dtype=torch.float64)
    with pytest.raises(DataError, match="of 2 points not positive definite with jitter 1e-06"):
        reference.factorise(K, noise, torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize(
    "columns", [((), NAMES), (SMOOTH, ()), ((), ())], ids=["names", "smooth", "neither"]
)
def test_either_sort_of_column_may_be_absent(
    native: None, columns: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    what = GpSpec.product("matern52", *columns)
    X, y, theta, noise, mean = data(20)
    theta = theta[:, : what.size]
    got = OPS.gp_mll(X, y, theta, noise, mean, what.code, True)
    want = reference.likelihood(X, y, theta, noise, mean, what.code, True)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w)
    state = ops.gp_condition(X, y, theta, noise, mean, what)
    query = rows(5, 1, 3)[0].requires_grad_()
    mu, variance = ops.gp_posterior(state, query)
    (mu.sum() + variance.sum()).backward()
    assert query.grad is not None


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(DataError, match="got kind 'cubic'; wanted one of matern12"):
        GpSpec.product("cubic", (0,))
    with pytest.raises(DataError, match="wanted distinct"):
        GpSpec.product("rbf", (0, 1), (1,))


def covariances_agree(what: GpSpec, n: int, m: int, models: int) -> None:
    X1, _, theta, _, _ = data(n, models, what=what)
    X2 = rows(m, 1, 5)
    X2[0, : min(n, m, 5)] = X1[0, : min(n, m, 5)]
    K = OPS.gp_kernel(X1, X2, theta, what.code)
    assert_close(K, reference.covariance(X1, X2, theta, what.code))
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    got = OPS.gp_kernel_backward(grad, X1, X2, theta, what.code, True)
    for g, w in zip(
        got, reference.covariance_backward(grad, X1, X2, theta, what.code, True), strict=True
    ):
        assert_close(g, w)


def regressions_agree(what: GpSpec, n: int, q: int, models: int, points: bool) -> None:
    args = data(n, models, what=what, points=points)
    for x_grad in (True, False):
        got = OPS.gp_mll(*args, what.code, x_grad)
        for g, w in zip(got, reference.likelihood(*args, what.code, x_grad), strict=True):
            assert_close(g, w, 5e-12)
    X, _, theta, _, mean = args
    known = reference.condition(*args, what.code)
    for g, w in zip(OPS.gp_condition(*args, what.code), known, strict=True):
        assert_close(g, w, 5e-12)
    query = (rows(q, models, 9), X, theta, mean, *known[:2])
    got = OPS.gp_posterior(*query, what.code)
    for g, w in zip(got, reference.posterior(*query, what.code), strict=True):
        assert_close(g, w, 5e-12)


@pytest.mark.parametrize("n", [0, 1, 7, 41, 130])
@pytest.mark.parametrize("points", [False, True])
def test_native_sums_of_products_are_the_references(native: None, n: int, points: bool) -> None:
    covariances_agree(EVERYTHING, n, 19, 2)
    regressions_agree(EVERYTHING, n, 11, 2, points)


@pytest.mark.parametrize("n", [0, 1, 8, 41, 64, 150, 300])
def test_rows_against_themselves_are_as_against_a_copy(native: None, n: int) -> None:
    """Half of a symmetric matrix is computed: the same bits; half its gradient: the same sums."""
    X, _, theta, _, _ = data(n, what=EVERYTHING)
    K = OPS.gp_kernel(X, X, theta, EVERYTHING.code)
    assert torch.equal(K, OPS.gp_kernel(X, X.clone(), theta, EVERYTHING.code))
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    got = OPS.gp_kernel_backward(grad, X, X, theta, EVERYTHING.code, False)
    want = OPS.gp_kernel_backward(grad, X, X.clone(), theta, EVERYTHING.code, False)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w)
    with threads(2):
        again = OPS.gp_kernel_backward(grad, X, X, theta, EVERYTHING.code, False)
        assert torch.equal(K, OPS.gp_kernel(X, X, theta, EVERYTHING.code))
    assert all(torch.equal(g, a) for g, a in zip(got, again, strict=True))


@pytest.mark.parametrize("n", [256, 257, 400])
def test_native_blocks_are_the_references(native: None, n: int) -> None:
    """Sizes around where pairs are walked twice, and where products have several blocks."""
    regressions_agree(GpSpec.product("matern52", SMOOTH), n, 65, 1, False)


@st.composite
def specs(draw: st.DrawFn) -> GpSpec:
    column = st.integers(0, D - 1)
    factor = st.builds(GpFidelity, st.sampled_from(FORMS), st.sampled_from(SMOOTH))
    terms = []
    for _ in range(draw(st.integers(1, 3))):
        columns = draw(st.lists(column, unique=True, max_size=D))
        cut = draw(st.integers(0, len(columns)))
        fidelity = draw(st.lists(factor, max_size=3))
        kind = draw(st.sampled_from(KINDS))
        terms.append(GpTerm(kind, tuple(columns[:cut]), tuple(columns[cut:]), tuple(fidelity)))
    return GpSpec(tuple(terms), tuple(draw(st.lists(column, unique=True, max_size=D))))


@settings(max_examples=60)
@given(what=specs(), n=st.integers(0, 40), m=st.integers(0, 20), models=st.integers(1, 3))
def test_any_native_covariance_is_the_references(what: GpSpec, n: int, m: int, models: int) -> None:
    assert GpSpec.decode(what.code) == what
    assert len(what.parameters) == what.size
    if "CPU" in ops.native_backends():
        covariances_agree(what, n, m, models)
        regressions_agree(what, n, m, models, points=n % 2 == 1)


@settings(max_examples=40)
@given(what=specs())
def test_any_references_gradients_are_autograds(what: GpSpec) -> None:
    X, Z = rows(6, 2, 1), rows(4, 2, 5)
    theta = data(6, what=what)[2]
    for t in (X, Z, theta):
        t.requires_grad_()
    K = reference.covariance(X, Z, theta, what.code)
    grad = torch.randn(K.shape, generator=torch.Generator().manual_seed(3), dtype=K.dtype)
    want = torch.autograd.grad((K * grad).sum(), (X, Z, theta), allow_unused=True)
    with torch.no_grad():
        got = reference.covariance_backward(grad, X, Z, theta, what.code, True)
    for t, g, w in zip((X, Z, theta), got, want, strict=True):
        assert_close(g, torch.zeros_like(t) if w is None else w, 1e-10)
    prior, by_Z = reference.variance(Z, theta, what.code)
    square = reference.covariance(Z, Z, theta, what.code)
    assert_close(prior.detach(), square.detach().diagonal(dim1=1, dim2=2))
    (want_Z,) = torch.autograd.grad(prior.sum() + 0.0 * Z.sum(), Z)
    assert_close(by_Z.detach(), want_Z, 1e-10)


@pytest.mark.parametrize("points", [False, True])
def test_gradcheck_of_everything(points: bool) -> None:
    """To theta, X (through roots and fidelities), y, noise, mean; names move in theta only."""
    what, at = EVERYTHING, [0, 2, 3, 5]
    X, y, theta, noise, mean = data(6, points=points, what=what, shared=True)
    other = rows(3, 2, 4)

    def full(moving: Tensor, like: Tensor) -> Tensor:
        return torch.stack(
            [moving[..., at.index(k)] if k in at else like[..., k] for k in range(D)], -1
        )

    inside = [0.05 + 0.9 * t[..., at].clone() for t in (X, other)]
    for t in (*inside, y, theta, noise, mean):
        t.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(
        lambda a, b, t: ops.gp_kernel(full(a, X)[0], full(b, other), t, what), (*inside, theta)
    )
    assert check(
        lambda a, y, t, noise, mean: ops.gp_mll(full(a, X)[0], y, t, noise, mean, what).value,
        (inside[0], y, theta, noise, mean),
    )
    state = ops.gp_condition(X[0], y, theta, noise, mean, what)
    assert check(lambda b: ops.gp_posterior(state, full(b, other)), (inside[1],))


def test_registration_of_everything() -> None:
    args = tuple(t.requires_grad_() for t in data(5, what=EVERYTHING))
    torch.library.opcheck(OPS.gp_mll.default, (*args, EVERYTHING.code, True))
    X, theta = args[0], args[2]
    torch.library.opcheck(OPS.gp_kernel.default, (X, X, theta, EVERYTHING.code))


@pytest.fixture
def every_lane(native: None) -> Iterator[list[int]]:
    here = [lanes for lanes in (2, 4, 8) if OPS.gp_lanes(lanes)]
    yield here
    OPS.gp_lanes(0)


def test_instruction_sets_give_the_same_covariance(every_lane: list[int]) -> None:
    X, _, theta, _, _ = data(70, what=EVERYTHING)
    Z = rows(45, 2, 5)
    plain = GpSpec.product("matern52", tuple(range(D)))
    some = data(70, what=plain)[2]
    results = []
    for lanes in every_lane:
        assert OPS.gp_lanes(lanes)
        one = OPS.gp_kernel(X, Z, theta, EVERYTHING.code), OPS.gp_kernel(X, Z, some, plain.code)
        results.append(one)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_instruction_sets_agree_on_likelihoods(every_lane: list[int]) -> None:
    for n in (5, 64, 150):
        args = data(n, what=EVERYTHING)
        want = reference.likelihood(*args, EVERYTHING.code, True)
        for lanes in every_lane:
            assert OPS.gp_lanes(lanes)
            for g, w in zip(OPS.gp_mll(*args, EVERYTHING.code, True), want, strict=True):
                assert_close(g, w)


def test_threads_do_not_change_a_bit_of_large_models(native: None) -> None:
    args = data(700, 1)
    with threads(1):
        one = OPS.gp_mll(*args, spec().code, False)
    with threads(2):
        two = OPS.gp_mll(*args, spec().code, False)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def botorch_says(model: SingleTaskGP) -> tuple[Tensor, Tensor]:
    """Covariance of the training rows without noise, and the marginal likelihood (a sum)."""
    model.train()
    X, y = model.train_inputs[0], model.train_targets
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        prior = model.forward(X)
        return prior.covariance_matrix, model.likelihood(prior).log_prob(y)


def agrees(model: SingleTaskGP, theta: list[Tensor], what: GpSpec) -> None:
    K, value = botorch_says(model)
    parameters = torch.cat([t.detach().flatten() for t in theta])
    X, noise = model.train_inputs[0], model.likelihood.noise.detach().reshape(())
    assert_close(ops.gp_kernel(X, X, parameters, what), K, 1e-10)
    mean = model.mean_module.constant.detach().reshape(())
    ours = ops.gp_mll(X, model.train_targets, parameters, noise, mean, what)
    assert_close(ours.value, value, 1e-10)


def some_y(n: int) -> Tensor:
    return torch.randn((n, 1), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def shaken(model: SingleTaskGP) -> SingleTaskGP:
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.covar_module.parameters():
            p += 0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype).abs()
        model.likelihood.noise = 0.07
        model.mean_module.constant.fill_(0.3)
    return model


def test_single_task_is_botorchs() -> None:
    model = shaken(SingleTaskGP(rows(30, 1, 1)[0] / 3, some_y(30)))
    ls = model.covar_module.lengthscale
    agrees(model, [ls, torch.ones(1).double()], GpSpec.product("rbf", tuple(range(D))))


def test_mixed_is_botorchs() -> None:
    """Three terms, one of them names alone; CategoricalKernel takes the mean over its columns."""
    model = shaken(MixedSingleTaskGP(rows(30, 1, 1)[0], some_y(30), cat_dims=list(NAMES)))
    added, product = model.covar_module.kernels
    smooth, scaled = added.base_kernel.kernels
    smooth2, names2 = product.base_kernel.kernels

    def weights(kernel: gpytorch.kernels.Kernel) -> Tensor:
        ls: Tensor = kernel.lengthscale
        return 1.0 / (len(NAMES) * ls.flatten())

    theta = [
        smooth.lengthscale,
        added.outputscale,
        weights(scaled.base_kernel),
        added.outputscale * scaled.outputscale,
        smooth2.lengthscale,
        weights(names2),
        product.outputscale,
    ]
    terms = GpTerm("rbf", SMOOTH), GpTerm("rbf", (), NAMES), GpTerm("rbf", SMOOTH, NAMES)
    agrees(model, theta, GpSpec(terms))


def test_multi_fidelity_is_botorchs() -> None:
    model = shaken(
        SingleTaskMultiFidelityGP(rows(30, 1, 1)[0] / 3, some_y(30), data_fidelities=[5])
    )
    scale = model.covar_module.outputscale
    (kernel,) = model.covar_module.base_kernel.kernels
    theta = [
        kernel.covar_module_unbiased.lengthscale,
        scale,
        kernel.covar_module_biased.lengthscale,
        kernel.power,
        scale,
    ]
    smooth = tuple(range(5))
    factor = (GpFidelity("truncated", 5),)
    terms = GpTerm("matern52", smooth), GpTerm("matern52", smooth, fidelity=factor)
    agrees(model, theta, GpSpec(terms))


def test_decay_is_botorchs() -> None:
    kernel = ScaleKernel(
        MaternKernel(nu=2.5, ard_num_dims=5, active_dims=tuple(range(5)))
        * ExponentialDecayKernel(active_dims=[5])
    )
    model = shaken(SingleTaskGP(rows(30, 1, 1)[0] / 3, some_y(30), covar_module=kernel.double()))
    matern, decay = kernel.base_kernel.kernels
    theta = [matern.lengthscale, decay.power, decay.lengthscale, decay.offset, kernel.outputscale]
    factor = (GpFidelity("decay", 5),)
    agrees(model, theta, GpSpec.product("matern52", tuple(range(5)), fidelity=factor))


@pytest.mark.parametrize(("form", "bad"), [("decay", -0.1), ("truncated", 1.5), ("truncated", -1)])
def test_fidelities_out_of_range_are_refused(form: str, bad: float) -> None:
    what = GpSpec.product("rbf", (0,), fidelity=(GpFidelity(form, 1),))
    X = torch.full((3, 2), 0.5, dtype=torch.float64)
    theta = torch.ones(what.size, dtype=torch.float64)
    ops.gp_kernel(X, X, theta, what)
    X[1, 1] = bad
    with pytest.raises(DataError, match=f"got X1 with {float(bad)} in fidelity column 1, {form}"):
        ops.gp_kernel(X, X, theta, what)
    if "CPU" in ops.native_backends():
        with pytest.raises(RuntimeError, match=r"got X1 with .* in fidelity column 1 of row 1"):
            OPS.gp_kernel(X[None], X[None], theta[None], what.code)


@pytest.mark.parametrize(
    "code",
    [
        [],
        [1],
        [1, 0],
        [0, 0],
        [1, 0, 9, 0, 0, 0],
        [1, 0, 0, 1, 7, 0, 0],
        [1, 0, 0, 1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0, 0, 0, 5],
        [1, 0, 0, 0, 0, 1, 3, 0],
        [1, 0, 0, 0, 0, 1, 0, 9],
    ],
)
def test_codes_that_are_no_covariance_are_refused(native: None, code: list[int]) -> None:
    X, theta = torch.zeros((1, 2, 2)).double(), torch.ones((1, 2)).double()
    with pytest.raises(RuntimeError, match="gp spec: got"):
        OPS.gp_kernel(X, X, theta, code)
    if code not in ([1, 0, 0, 1, 7, 0, 0], [1, 0, 0, 0, 0, 1, 0, 9]):  # columns X does not have
        with pytest.raises(DataError, match="got"):
            GpSpec.decode(code)


def test_parameters_say_what_they_are() -> None:
    what = GpSpec.product("rbf", (3,), (1,), (GpFidelity("decay", 2),))
    roles = ["lengthscale", "weight", "power", "fidelity_lengthscale", "offset", "outputscale"]
    assert [p.role for p in what.parameters] == roles
    assert [p.column for p in what.parameters] == [3, 1, 2, 2, 2, -1]
    assert what.width == 4
    bad = torch.ones((1, 6)).double()
    bad[0, 3] = 0.0
    with pytest.raises(DataError, match=r"theta\[0\]\[3\] = 0.0, a fidelity_lengthscale; wanted"):
        ops.gp_kernel(torch.zeros(2, 4).double(), torch.zeros(2, 4).double(), bad, what)
