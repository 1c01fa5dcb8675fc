from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import (
    LogExpectedImprovement,
    UpperConfidenceBound,
    _log_ei_helper,
)
from botorch.models import SingleTaskGP
from botorch.optim.optimize import optimize_acqf
from gpytorch.kernels import MaternKernel, ScaleKernel
from torch import Tensor

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops import Acquisition, ActiveWhere, AtLeast, Design, GpSpec, GpState, _acquisition
from jobs_bench.ops import _acquisition_reference as reference

OPS = torch.ops.jobs_bench
KINDS = [Acquisition("log_ei", 0.7), Acquisition("ucb", beta=4.0), Acquisition("mean")]

# three weights, two numbers, seven steps, three names, two flags
LEVELS = (
    (),
    (),
    (),
    (),
    (),
    tuple(k / 6 for k in range(7)),
    (0.0, 1.0, 2.0),
    (0.0, 1.0),
    (0.0, 1.0),
)
MIXED = Design(
    low=(0.0,) * 9,
    high=(1.0, 0.6, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0),
    simplexes=((0, 3),),
    levels=LEVELS,
    ordered=(5,),
    quotas=(AtLeast(1, (7, 8)),),
    conditions=(ActiveWhere(6, (1.0,), (4,)),),
    rest=(1 / 3, 1 / 3, 1 / 3, 0.5, 0.25, 0.5, 0.0, 1.0, 1.0),
)
SPEC = GpSpec.product("matern52", (0, 1, 2, 3, 4, 5), (6, 7, 8))
ROOTS = GpSpec.product("matern52", (0, 1, 2, 3, 4, 5), (6, 7, 8), roots=(0, 1, 2))


def target(X: Tensor) -> Tensor:
    curve = -3 * (X[:, 3] - 0.3) ** 2 - 2 * (X[:, 0] - 0.6) ** 2 - (X[:, 2] - 0.4) ** 2
    return curve - (X[:, 5] - 0.7) ** 2 + (X[:, 6] == 1) * (1 - X[:, 4]) + 0.2 * X[:, 7]


def state(spec: GpSpec = SPEC, models: int = 0, n: int = 30, seed: int = 3) -> GpState:
    X = MIXED.draw(n, seed)
    y = target(X)
    y = (y - y.mean()) / y.std()
    theta = torch.full((spec.size,), 0.8, dtype=torch.float64)
    noise, mean = torch.tensor(1e-3).double(), torch.tensor(0.1).double()
    if not models:
        return ops.gp_condition(X, y, theta, noise, mean, spec)
    scales = torch.linspace(0.5, 1.5, models, dtype=torch.float64)[:, None]
    many = (scales * y, scales * theta, scales * noise, mean.expand(models))
    return ops.gp_condition(X, *many, spec)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- the functions ---------------------------------------------------------------------------


def test_log_improvement_is_botorchs_with_exact_slopes() -> None:
    grid = torch.linspace(-60, 20, 4001, dtype=torch.float64)
    far = -torch.logspace(2, 6, 200, dtype=torch.float64)
    u = torch.cat([far, grid]).requires_grad_()
    want = _log_ei_helper(u)
    (slope,) = torch.autograd.grad(want.sum(), u)
    value, mean_slope, sd_slope = reference.log_improvement(u.detach())
    torch.testing.assert_close(value, want.detach(), rtol=1e-12, atol=1e-12)
    # BoTorch's slope loses digits to cancellation far out; the test below has the exact ones there
    near = u.detach() > -60
    torch.testing.assert_close(mean_slope[near], slope[near], rtol=1e-9, atol=0)
    from_slope = (1 - u.detach() * slope)[near]
    torch.testing.assert_close(sd_slope[near], from_slope, rtol=1e-8, atol=1e-12)


def test_log_improvement_far_out_follows_its_series() -> None:
    u = -torch.logspace(2, 100, 99, dtype=torch.float64)
    value, mean_slope, sd_slope = reference.log_improvement(u)
    # h(-t) = phi(t) / t^2 (1 - 3 / t^2 + 15 / t^4 - ...)
    t = -u
    series = 1 - 3 / t**2 + 15 / t**4 - 105 / t**6
    want = -0.5 * t**2 - 0.5 * math.log(2 * math.pi) - 2 * t.log() + series.log()
    torch.testing.assert_close(value, want, rtol=1e-13, atol=0)
    mills = 1 - 1 / t**2 + 3 / t**4 - 15 / t**6
    torch.testing.assert_close(mean_slope, t * mills / series, rtol=1e-11, atol=0)
    torch.testing.assert_close(sd_slope, t**2 / series, rtol=1e-11, atol=0)


@pytest.mark.parametrize("kind", range(len(reference.ACQUISITIONS)))
def test_derivatives_in_mean_and_variance(kind: int) -> None:
    g = torch.Generator().manual_seed(0)
    mean = 6 * torch.randn(200, generator=g, dtype=torch.float64)
    variance = 10 ** (-4 * torch.rand(200, generator=g, dtype=torch.float64))
    args = [mean.requires_grad_(), variance.requires_grad_()]
    _, in_mean, in_variance = reference.acquire(kind, 0.3, 2.0, mean.detach(), variance.detach())

    def value(m: Tensor, v: Tensor) -> Tensor:
        return reference.acquire(kind, 0.3, 2.0, m, v)[0]

    for got, h, i in ((in_mean, 1e-5, 0), (in_variance, 1e-5, 1)):
        step = [torch.zeros_like(mean), torch.zeros_like(mean)]
        step[i] = h * (variance.detach() if i else torch.ones_like(mean))
        with torch.no_grad():
            up = value(args[0] + step[0], args[1] + step[1])
            down = value(args[0] - step[0], args[1] - step[1])
        torch.testing.assert_close(got, (up - down) / (2 * step[i]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("acq", KINDS, ids=lambda a: a.kind)
@pytest.mark.parametrize("spec", [SPEC, ROOTS], ids=["flat", "roots"])
@pytest.mark.parametrize("models", [0, 3])
def test_native_values_and_gradients_are_the_references(
    native: None, acq: Acquisition, spec: GpSpec, models: int
) -> None:
    known = state(spec, models)
    weights = None if not models else torch.tensor([-0.5, 1.0, 2.0], dtype=torch.float64)
    Xq = MIXED.draw(131, 8)
    args = _acquisition._function(known, acq, weights)
    value, gradient = OPS.acquisition(Xq, *args, True)
    call: tuple[Any, ...] = (Xq, *args, True)
    want, want_gradient = reference.acquisition(*call)
    torch.testing.assert_close(value, want, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(OPS.acquisition(Xq, *args, False)[0], value, rtol=0, atol=0)


def botorch_model(n: int = 25, d: int = 4) -> tuple[SingleTaskGP, GpState]:
    g = torch.Generator().manual_seed(1)
    X = torch.rand((n, d), generator=g, dtype=torch.float64)
    y = torch.sin(5 * X[:, 0]) + X[:, 1] ** 2 - X[:, 2] * X[:, 3]
    y = (y - y.mean()) / y.std()
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=d))
    model = SingleTaskGP(
        X,
        y[:, None],
        torch.full((n, 1), 1e-3).double(),
        covar_module=kernel,
        outcome_transform=None,
    ).eval()
    kernel.base_kernel.lengthscale = torch.tensor([0.4, 0.7, 0.9, 1.3], dtype=torch.float64)
    kernel.outputscale = 1.7
    # read back: a number is set by way of float32
    theta = torch.cat([kernel.base_kernel.lengthscale.flatten(), kernel.outputscale.reshape(1)])
    theta, noise = theta.detach(), model.likelihood.noise.detach()[0]
    mean = model.mean_module.constant.detach()
    return model, ops.gp_condition(
        X, y, theta, noise, mean, GpSpec.product("matern52", tuple(range(d)))
    )


@pytest.mark.parametrize("best", [-1.0, 1.0, 40.0])
def test_values_and_gradients_are_botorchs(best: float) -> None:
    model, known = botorch_model()
    g = torch.Generator().manual_seed(2)
    for theirs, ours in (
        (LogExpectedImprovement(model, best), Acquisition("log_ei", best)),
        (UpperConfidenceBound(model, 2.5), Acquisition("ucb", beta=2.5)),
    ):
        Xq = torch.rand((50, 4), generator=g, dtype=torch.float64).requires_grad_()
        want = theirs(Xq.unsqueeze(1))
        (want_gradient,) = torch.autograd.grad(want.sum(), Xq)
        got = ops.acquisition(known, Xq, ours)
        (gradient,) = torch.autograd.grad(got.sum(), Xq)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient, want_gradient, rtol=1e-8, atol=1e-8)


def test_a_million_deviations_below_the_best() -> None:
    _, known = botorch_model()
    Xq = torch.rand((20, 4), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean, variance = ops.gp_posterior(known, Xq)
    best = float((mean + 1e6 * variance.sqrt()).max())
    Xq.requires_grad_()
    value = ops.acquisition(known, Xq, Acquisition("log_ei", best))
    (gradient,) = torch.autograd.grad(value.sum(), Xq)
    u = (mean - best) / variance.sqrt()
    torch.testing.assert_close(value, _log_ei_helper(u) + 0.5 * variance.log(), rtol=1e-9, atol=0)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient.abs().amax(1) > 0).all())


@pytest.mark.parametrize("acq", KINDS, ids=lambda a: a.kind)
def test_gradients_are_those_of_the_values(acq: Acquisition) -> None:
    known, Xq = state(ROOTS), MIXED.draw(3, 21).clamp_min(0.01)

    def value(smooth: Tensor) -> Tensor:
        return ops.acquisition(known, torch.cat([smooth, Xq[:, 6:]], 1), acq)

    assert torch.autograd.gradcheck(value, (Xq[:, :6].clone().requires_grad_(),), rtol=1e-4)


def test_operators_pass_torchs_checks() -> None:
    args = _acquisition._function(state(), KINDS[0], None)
    Xq = MIXED.draw(5, 4)
    for x_grad in (True, False):
        torch.library.opcheck(OPS.acquisition, (Xq.clone().requires_grad_(x_grad), *args, x_grad))
    code = MIXED.code(())
    ones, plain = torch.ones(3, dtype=torch.float64), ("test_schema", "test_faketensor")
    call = (Xq, *args, *code, 2, 5, 2)
    torch.library.opcheck(OPS.acquisition_search, call, test_utils=plain)
    torch.library.opcheck(OPS.project_simplex, (Xq[:, :3], 0 * ones, ones), test_utils=plain)


def test_a_pool_in_one_call_is_the_loop_over_it() -> None:
    known, pool = state(models=2), MIXED.draw(150, 9)
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    together = ops.acquisition(known, pool, KINDS[0], weights=weights)
    each = [ops.acquisition(known, row[None], KINDS[0], weights=weights) for row in pool]
    torch.testing.assert_close(together, torch.cat(each), rtol=0, atol=0)
    at, value = ops.best_candidate(known, pool, KINDS[0], weights=weights)
    assert (at, value) == (int(together.argmax()), float(together.max()))


# --- the search ------------------------------------------------------------------------------


def in_design(design: Design, rows: Tensor) -> None:
    low, high = (torch.tensor(b, dtype=torch.float64) for b in (design.low, design.high))
    assert bool((rows >= low - 1e-9).all() and (rows <= high + 1e-9).all())
    for start, stop in design.simplexes:
        torch.testing.assert_close(rows[:, start:stop].sum(1), torch.ones(len(rows)).double())
    for i, levels in enumerate(design.levels):
        assert not levels or set(rows[:, i].tolist()) <= set(levels)
    for quota in design.quotas:
        assert bool((rows[:, list(quota.columns)].sum(1) >= quota.least).all())
    settled = rows.numpy().copy()
    design.settle(settled)
    np.testing.assert_array_equal(settled, rows.numpy())


@pytest.mark.parametrize("around", [False, True])
def test_drawn_rows_are_of_the_design(around: bool) -> None:
    rows = MIXED.draw(400, 5, MIXED.draw(3, 1) if around else None)
    in_design(MIXED, rows)
    again = MIXED.draw(400, 5, MIXED.draw(3, 1) if around else None)
    torch.testing.assert_close(rows, again, rtol=0, atol=0)
    assert len(torch.unique(rows, dim=0)) > 390
    for i, levels in enumerate(MIXED.levels):
        assert set(rows[:, i].tolist()) >= set(levels)


@pytest.mark.parametrize("acq", KINDS, ids=lambda a: a.kind)
@pytest.mark.parametrize("spec", [SPEC, ROOTS], ids=["flat", "roots"])
@pytest.mark.parametrize("models", [0, 2])
def test_results_are_rows_of_the_design_and_no_worse_than_any_start(
    acq: Acquisition, spec: GpSpec, models: int
) -> None:
    known, starts = state(spec, models), MIXED.draw(64, 11)
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64) if models else None
    rows, values = ops.optimise_acquisition(
        known, acq, MIXED, starts=starts, weights=weights, restarts=6
    )
    assert rows.shape == (6, 9)
    in_design(MIXED, rows)
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    torch.testing.assert_close(ops.acquisition(known, rows, acq, weights=weights), values)
    assert float(values[0]) >= float(ops.acquisition(known, starts, acq, weights=weights).max())


@pytest.mark.parametrize("spec", [SPEC, ROOTS], ids=["flat", "roots"])
def test_results_are_local_maxima(spec: GpSpec) -> None:
    acq, known = KINDS[0], state(spec)
    rows, values = ops.optimise_acquisition(
        known, acq, MIXED, starts=MIXED.draw(64, 11), restarts=4
    )
    for row, value in zip(rows, values.tolist(), strict=True):
        near = MIXED.draw(2000, 0, row[None])
        # small continuous steps, and single changes of a level
        small = row + 1e-3 * (near - row)
        for i, levels in enumerate(MIXED.levels):
            if levels:
                small[:, i] = row[i]
        steps = [row.index_fill(0, torch.tensor(i), x) for i in range(5, 9) for x in LEVELS[i]]
        changed = torch.stack([r for r in steps if float(r[7] + r[8]) >= 1])
        both = torch.cat([small, changed]).numpy()
        MIXED.settle(both)
        there = ops.acquisition(known, torch.from_numpy(both), acq)
        assert float(there.max()) <= value + 1e-6


def test_the_reference_finds_the_same_maximum(native: None) -> None:
    for spec in (SPEC, ROOTS):
        args = _acquisition._function(state(spec), KINDS[1], None)
        call = (MIXED.draw(20, 2), *args, *MIXED.code(spec.roots), 3, 200, 8)
        native_rows, native_values = OPS.acquisition_search(*call)
        plain_rows, plain_values = reference.search(*call)
        assert float(native_values[0]) == pytest.approx(float(plain_values[0]), rel=1e-5)
        in_design(MIXED, plain_rows)
        torch.testing.assert_close(native_rows[0], plain_rows[0], rtol=0, atol=0.02)


def test_the_search_has_the_same_bits_with_any_number_of_threads(native: None) -> None:
    known, starts = state(ROOTS), MIXED.draw(200, 1)
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(
                ops.optimise_acquisition(known, KINDS[0], MIXED, starts=starts, restarts=10)
            )
    for rows, values in found[1:]:
        assert torch.equal(rows, found[0][0])
        assert torch.equal(values, found[0][1])


def test_fixed_columns_stay() -> None:
    fixed = {1: 0.25, 3: 0.1, 5: 1 / 3, 6: 2.0}
    rows, values = ops.optimise_acquisition(
        state(), KINDS[0], MIXED, starts=MIXED.draw(40, 2), fixed=fixed, restarts=5
    )
    for column, x in fixed.items():
        torch.testing.assert_close(rows[:, column], torch.full((5,), x).double())
    assert bool((rows[:, 4] == MIXED.rest[4]).all())  # its condition does not hold
    in_design(MIXED, rows)
    free = ops.optimise_acquisition(state(), KINDS[0], MIXED, starts=rows, restarts=5)
    assert float(free[1][0]) >= float(values[0])


def test_a_mixture_that_is_off_rests_to_the_bit() -> None:
    rest = (0.1, 0.7, 0.2, 0.0)
    design = Design(
        low=(0.0,) * 4,
        high=(1.0,) * 4,
        simplexes=((0, 3),),
        levels=((), (), (), (0.0, 1.0)),
        conditions=(ActiveWhere(3, (1.0,), (0, 1, 2)),),
        rest=rest,
    )
    spec = GpSpec.product("matern52", (0, 1, 2), (3,), roots=(0, 1, 2))
    X = design.draw(20, 0)
    y, theta = X[:, 3] + X[:, 0], torch.full((5,), 0.5, dtype=torch.float64)
    noise, mean = torch.tensor(0.01).double(), torch.tensor(0.0).double()
    known = ops.gp_condition(X, y, theta, noise, mean, spec)
    rows, _ = ops.optimise_acquisition(
        known, Acquisition("mean"), design, starts=X, fixed={3: 0.0}, restarts=3
    )
    assert rows.tolist() == [list(rest)] * 3
    rows, _ = ops.optimise_acquisition(known, Acquisition("mean"), design, starts=X)
    assert rows[0, 3] == 1.0


def test_a_condition_opens_what_it_hides() -> None:
    known = state(ROOTS)
    one = (*MIXED.rest[:6], 0.0, 1.0, 1.0)
    start = torch.tensor([one], dtype=torch.float64)
    rows, _ = ops.optimise_acquisition(known, Acquisition("mean"), MIXED, starts=start)
    # the target is highest with name 1, which then wants column 4 away from where it rested
    assert rows[0, 6] == 1.0
    assert float(rows[0, 4]) < 0.2


def test_plateaus_far_from_any_improvement_still_have_a_way_up() -> None:
    design = Design((0.0,) * 4, (1.0,) * 4)
    _, known = botorch_model()
    starts = design.draw(8, 0)
    rows, values = ops.optimise_acquisition(
        known, Acquisition("log_ei", 1e3), design, starts=starts, restarts=8
    )
    assert float(values.min()) > float(
        ops.acquisition(known, starts, Acquisition("log_ei", 1e3)).max()
    )
    assert bool(torch.isfinite(values).all() and torch.isfinite(rows).all())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_optimum_is_at_least_botorchs(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    d, k = 8, 4
    design = Design((0.0,) * d, (1.0,) * d, simplexes=((0, k),))
    X = design.draw(30, seed)
    y = -(
        (X - X[int(torch.randint(30, (), generator=g))]) ** 2 @ torch.rand(d, generator=g).double()
    )
    y = (y - y.mean()) / y.std()
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=d))
    noise = torch.full((30, 1), 1e-4).double()
    model = SingleTaskGP(X, y[:, None], noise, covar_module=kernel, outcome_transform=None).eval()
    kernel.base_kernel.lengthscale = 0.3 + torch.rand(d, generator=g).double()
    theta = torch.cat([kernel.base_kernel.lengthscale.flatten(), kernel.outputscale.reshape(1)])
    mean = model.mean_module.constant.detach()
    spec = GpSpec.product("matern52", tuple(range(d)))
    known = ops.gp_condition(X, y, theta.detach(), noise[0, 0], mean, spec)
    best = float(y.max())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        row, _ = optimize_acqf(
            LogExpectedImprovement(model, best),
            torch.tensor([design.low, design.high], dtype=torch.float64),
            q=1,
            num_restarts=5,
            raw_samples=128,
            equality_constraints=[(torch.arange(k), torch.ones(k).double(), 1.0)],
        )
    starts = torch.cat([design.draw(512, seed), design.draw(256, seed, X[y.topk(4).indices])])
    acq = Acquisition("log_ei", best)
    _, values = ops.optimise_acquisition(known, acq, design, starts=starts)
    theirs = float(ops.acquisition(known, row, acq))
    assert float(values[0]) >= theirs - max(1e-6 * abs(theirs), 1e-8)


# --- bad input -------------------------------------------------------------------------------


def search(starts: Tensor, design: Design = MIXED, **more: object) -> object:
    return ops.optimise_acquisition(state(), KINDS[0], design, starts=starts, **more)  # type: ignore[arg-type]


def test_starts_off_the_simplex_are_refused_with_their_sum() -> None:
    starts = MIXED.draw(5, 0)
    starts[3, :3] = torch.tensor([0.5, 0.25, 0.5])
    words = r"got weights that sum to 1.25 in starts\[3\]\[0:3\]; wanted 1"
    with pytest.raises((DataError, RuntimeError), match=words):
        search(starts)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (3, 1.5, "1.5; wanted one of .0, 1"),
        (5, 0.1, "levels"),
        (6, 7.0, "7; wanted one of .0, 2|7.0; wanted one of"),
    ],
)
def test_starts_outside_the_design_are_refused(column: int, value: float, words: str) -> None:
    starts = MIXED.draw(5, 0)
    starts[2, column] = value
    with pytest.raises((DataError, RuntimeError), match=words):
        search(starts)


def test_arguments_that_do_not_fit_are_refused() -> None:
    starts = MIXED.draw(5, 0)
    with pytest.raises(DataError, match=r"got 0 starts.*wanted at least 1"):
        search(starts[:0])
    with pytest.raises(DataError, match=r"got starts \(5, 8\).*wanted \(any, 9\)"):
        search(starts[:, :8])
    with pytest.raises(DataError, match=r"starts.* = nan; wanted finite"):
        search(starts.index_fill(1, torch.tensor(3), math.nan))
    with pytest.raises(DataError, match="got a design of 2 columns; wanted 9"):
        search(starts, Design((0.0, 0.0), (1.0, 1.0)))
    with pytest.raises(DataError, match=r"got 1.5 for column 3 of 9; wanted one of \[0.0, 1.0\]"):
        search(starts, fixed={3: 1.5})
    with pytest.raises(DataError, match=r"restarts=0; wanted at least 1"):
        search(starts, restarts=0)
    with pytest.raises(DataError, match=r"got a pool \(0, 9\); wanted at least one row"):
        ops.best_candidate(state(), starts[:0], KINDS[0])
    with pytest.raises(DataError, match=r"got Xq\[0, 3\] = inf|got Xq.* = inf; wanted finite"):
        ops.acquisition(state(), starts.index_fill(1, torch.tensor(3), math.inf), KINDS[0])
    with pytest.raises(DataError, match=r"got 2 models and no weights; wanted \(2,\)"):
        ops.acquisition(state(models=2), starts, KINDS[0])
    with pytest.raises(DataError, match=r"got weights \(3,\).*wanted \(2,\)"):
        ops.acquisition(state(models=2), starts, KINDS[0], weights=torch.ones(3).double())
    with pytest.raises(DataError, match="'ei'; wanted one of log_ei, ucb, mean"):
        Acquisition("ei")
    with pytest.raises(DataError, match=r"beta=-1"):
        Acquisition("ucb", beta=-1.0)


def test_empty_designs_are_refused() -> None:
    with pytest.raises(DataError, match=r"sum to 0 and 0.9; wanted .* at least 1"):
        Design((0.0,) * 3, (0.3,) * 3, simplexes=((0, 3),))
    with pytest.raises(DataError, match=r"sum to 1.2 and 3; wanted .* at most 1"):
        Design((0.4,) * 3, (1.0,) * 3, simplexes=((0, 3),))
    with pytest.raises(DataError, match=r"got low=1.0, high=0.0 for column 1"):
        Design((0.0, 1.0), (1.0, 0.0))
    with pytest.raises(DataError, match=r"got at least 3 of columns \(0, 1\); wanted 0 to 2"):
        Design((0.0,) * 2, (1.0,) * 2, levels=((0.0, 1.0),) * 2, quotas=(AtLeast(3, (0, 1)),))
    with pytest.raises(DataError, match=r"got levels \(0.0, 2.0\).*wanted them in \[0.0, 1.0\]"):
        Design((0.0,), (1.0,), levels=((0.0, 2.0),))
    with pytest.raises(DataError, match=r"which sum to 1.1 and"):
        MIXED.fix({0: 0.6, 1: 0.5})


def test_second_derivatives_are_refused() -> None:
    Xq = MIXED.draw(2, 0).requires_grad_()
    value = ops.acquisition(state(), Xq, KINDS[0])
    (gradient,) = torch.autograd.grad(value.sum(), Xq, create_graph=True)
    assert not gradient.requires_grad
