from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from botorch.models.gp_regression_mixed import MixedSingleTaskGP
from botorch.models.model import Model
from gpytorch import priors as gpytorch_priors
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops import (
    GP_FIT_STOPS,
    Gamma,
    GpBox,
    GpFidelity,
    GpFit,
    GpPrior,
    GpPriors,
    GpSpec,
    GpTerm,
    LogNormal,
    Normal,
    gp_fit,
)
from jobs_bench.ops._gp_fit_operator import _plain

INF = math.inf


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def replaced(how: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Iterator[None]:
    """The operator does `how`."""
    with torch.library._scoped_library("jobs_bench", "IMPL") as scope:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it replaces the compiled one
            scope.impl("gp_fit", how, "CPU", allow_override=True)
        yield


@contextmanager
def plainly() -> Iterator[None]:
    """The plain search in place of the compiled one."""
    with replaced(_plain):
        yield


def problem(
    seed: int, n: int, d: int, *, sort: str = "waves", noise: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Rows in the unit cube and standardised targets that two or three columns decide."""
    g = np.random.default_rng(seed)
    X = g.random((n, d))
    if sort == "duplicates":
        X[n // 2 :] = X[: n - n // 2]
    few = min(3, d)
    y = np.sin(X[:, :few] * g.uniform(1, 6, few)).sum(1) + noise * g.normal(size=n)
    if sort == "white":
        y = g.normal(size=n)
    y = np.zeros(n) if sort == "constant" else (y - y.mean()) / y.std(ddof=1)
    return torch.from_numpy(X), torch.from_numpy(y)


def smooth(d: int, kind: str = "rbf") -> GpSpec:
    return GpSpec.product(kind, tuple(range(d)))


def posterior_of(fit: GpFit, X: Tensor, y: Tensor, spec: GpSpec, priors: GpPriors) -> float:
    """Log likelihood plus log priors, put together anew."""
    out = float(ops.gp_mll(X, y, fit.theta, fit.noise, fit.mean, spec).value)
    values = [*fit.theta.tolist(), float(fit.noise), float(fit.mean)]
    for k, (box, x) in enumerate(zip(priors.boxes, values, strict=True)):
        if box.prior is not None and priors.leaders[k] == k:
            out += box.prior.log_density(x)
    return out


# --- priors


PRIORS = [
    (LogNormal(0.3, 1.7), gpytorch_priors.LogNormalPrior(0.3, 1.7)),
    (Gamma(2.5, 0.7), gpytorch_priors.GammaPrior(2.5, 0.7)),
    (Normal(-1.0, 2.0), gpytorch_priors.NormalPrior(-1.0, 2.0)),
]


@pytest.mark.parametrize(("ours", "theirs"), PRIORS)
@given(x=st.floats(1e-4, 50.0))
def test_densities_are_gpytorchs(ours: Any, theirs: Any, x: float) -> None:
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    want = theirs.log_prob(at)
    want.backward()
    assert at.grad is not None
    assert ours.log_density(x) == pytest.approx(want.item(), rel=1e-6, abs=1e-6)
    assert ours.slope(x) == pytest.approx(float(at.grad), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("ours", [ours for ours, _ in PRIORS])
def test_quantiles_are_those_of_the_density(ours: Any) -> None:
    ends = ours.quantile(np.array([0.2, 0.7]))
    x = np.linspace(ends[0], ends[1], 20001)
    assert np.trapezoid([math.exp(ours.log_density(v)) for v in x.tolist()], x) == pytest.approx(
        0.5, abs=1e-6
    )


MODELS: dict[str, tuple[GpSpec, Callable[[Tensor, Tensor], Model]]] = {
    "single": (smooth(4), lambda X, y: SingleTaskGP(X, y, outcome_transform=None)),
    "mixed": (
        GpSpec(
            (
                GpTerm("rbf", (0, 2)),
                GpTerm("rbf", (), (1, 3)),
                GpTerm("rbf", (0, 2), (1, 3)),
            )
        ),
        lambda X, y: MixedSingleTaskGP(X, y, cat_dims=[1, 3], outcome_transform=None),
    ),
    "fidelity": (
        GpSpec(
            (
                GpTerm("matern52", (0, 1, 2)),
                GpTerm("matern52", (0, 1, 2), (), (GpFidelity("truncated", 3),)),
            )
        ),
        lambda X, y: SingleTaskMultiFidelityGP(X, y, data_fidelities=[3], outcome_transform=None),
    ),
    "decay": (
        GpSpec.product("rbf", (0, 1, 2), (), (GpFidelity("decay", 3),)),
        lambda X, y: SingleTaskMultiFidelityGP(
            X, y, iteration_fidelity=3, linear_truncated=False, outcome_transform=None
        ),
    ),
}


def rows_for(name: str, n: int) -> tuple[Tensor, Tensor]:
    X, y = problem(3, n, 4)
    if name == "mixed":
        X[:, [1, 3]] = (X[:, [1, 3]] * 3).floor()
    return X, y


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.InputDataWarning")
@pytest.mark.parametrize("name", MODELS)
def test_botorch_starts_where_botorch_does(name: str) -> None:
    """Without a search, the objective at the start is n times BoTorch's at its own."""
    spec, build = MODELS[name]
    X, y = rows_for(name, 15)
    model = build(X, y.unsqueeze(-1))
    mll = ExactMarginalLogLikelihood(model.likelihood, model).train()
    with torch.no_grad():
        want = float(mll(model(X), y))
    fit = gp_fit(X, y, spec, GpPriors.botorch(spec), max_iter=0)
    assert float(fit.objective) / 15 == pytest.approx(want, abs=1e-6)


def test_botorch_has_no_defaults_for_other_sums() -> None:
    spec = GpSpec((GpTerm("rbf", (0,)), GpTerm("matern52", (0,))))
    with pytest.raises(DataError, match="wanted those of SingleTaskGP, MixedSingleTaskGP or"):
        GpPriors.botorch(spec)


@given(l=st.floats(0.06, 100.0), columns=st.integers(1, 6))
def test_hamming_box_is_the_prior_over_lengthscales(l: float, columns: int) -> None:  # noqa: E741
    prior = GpBox.hamming(columns).prior
    assert prior is not None
    want = LogNormal(0.0, 1.0).log_density(l)
    got = prior.log_density(1.0 / (columns * l))
    assert got + 2.0 - math.log(columns) == pytest.approx(want, abs=1e-9)


# --- what a fit is


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [12, 40])
def test_objective_is_likelihood_plus_priors_and_flat(name: str, n: int) -> None:
    """The objective is what it says; at the result no box-feasible direction gains."""
    spec, _ = MODELS[name]
    X, y = rows_for(name, n)
    priors = GpPriors.botorch(spec)
    fit = gp_fit(X, y, spec, priors)
    assert bool(fit.converged)
    assert float(fit.objective) == pytest.approx(posterior_of(fit, X, y, spec, priors), rel=1e-10)
    flat = torch.cat([fit.theta, fit.noise[None], fit.mean[None]])
    for k, box in enumerate(priors.boxes):
        if box.low == box.high or priors.leaders[k] != k:
            continue
        for step in (-0.01, 0.01):
            moved = flat.clone()
            x = float(flat[k])
            moved[k] = min(max(x * math.exp(step) if box.low > 0 else x + step, box.low), box.high)
            for i, j in priors.tied:
                moved[i] = moved[j]
            other = fit._replace(theta=moved[:-2], noise=moved[-2], mean=moved[-1])
            gain = posterior_of(other, X, y, spec, priors) - float(fit.objective)
            assert gain < 1e-4 * n


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(5, 60),
    d=st.integers(1, 8),
    sort=st.sampled_from(["waves", "white", "constant", "duplicates"]),
    kind=st.sampled_from(["rbf", "matern52", "matern32"]),
)
def test_native_search_is_as_good_as_the_plain_one(
    seed: int, n: int, d: int, sort: str, kind: str
) -> None:
    """From the same start; where it ends lower, that is an optimum too."""
    X, y = problem(seed, n, d, sort=sort)
    spec = smooth(d, kind)
    priors = GpPriors.botorch(spec)
    fit = gp_fit(X, y, spec, priors)
    with plainly():
        plain = gp_fit(X, y, spec, priors)
        polished = gp_fit(
            X, y, spec, priors, starts=torch.cat([fit.theta, fit.noise[None], fit.mean[None]])[None]
        )
    begin = gp_fit(X, y, spec, priors, max_iter=0)
    assert float(fit.objective) >= float(begin.objective)
    assert bool(fit.converged)
    worse = (float(plain.objective) - float(fit.objective)) / n
    # they may end in different optima; each must be one
    gained = (float(polished.objective) - float(fit.objective)) / n
    assert worse < 1e-4 or gained < 1e-4


def test_a_fit_is_a_fixed_point() -> None:
    X, y = problem(0, 40, 6)
    priors = GpPriors.botorch(smooth(6))
    fit = gp_fit(X, y, smooth(6), priors)
    again = gp_fit(
        X,
        y,
        smooth(6),
        priors,
        starts=torch.cat([fit.theta, fit.noise[None], fit.mean[None]])[None],
    )
    assert float(again.objective) >= float(fit.objective)
    assert int(again.evaluations) < int(fit.evaluations) / 2
    torch.testing.assert_close(again.theta.log(), fit.theta.log(), rtol=0, atol=0.05)


def test_recovers_planted_parameters() -> None:
    g = torch.Generator().manual_seed(1)
    X = torch.rand((220, 2), generator=g, dtype=torch.float64)
    spec = GpSpec.product("matern52", (0, 1))
    theta = torch.tensor([0.2, 0.8, 2.0], dtype=torch.float64)
    K = ops.gp_kernel(X, X, theta, spec) + 0.01 * torch.eye(220).double()
    y = 3.0 + torch.linalg.cholesky(K) @ torch.randn(220, generator=g, dtype=torch.float64)
    free = GpBox.positive()
    priors = GpPriors((free, free, free), GpBox(1e-6, INF, 0.1), GpBox(-INF, INF, 0.0))
    fit = gp_fit(X, y, spec, priors)
    assert float(fit.theta[0]) == pytest.approx(0.2, rel=0.3)
    assert float(fit.theta[1]) == pytest.approx(0.8, rel=0.3)
    assert float(fit.noise) == pytest.approx(0.01, rel=0.3)
    assert float(fit.mean) == pytest.approx(3.0, abs=2.5)


def test_fixed_and_tied_parameters_stay_so() -> None:
    X, y = problem(2, 30, 3)
    spec = GpSpec((GpTerm("rbf", (0, 1)), GpTerm("matern52", (1, 2))))
    box = GpBox.positive()
    theta = (box, GpBox.fixed(0.7), box, box, box, box)
    priors = GpPriors(theta, GpBox.fixed(0.05), GpBox.fixed(0.25), tied=((3, 0), (5, 2)))
    fit = gp_fit(X, y, spec, priors)
    assert float(fit.theta[1]) == 0.7
    assert float(fit.noise) == 0.05
    assert float(fit.mean) == 0.25
    assert float(fit.theta[3]) == float(fit.theta[0]) != box.start
    assert float(fit.theta[5]) == float(fit.theta[2]) != box.start
    for k in (0, 2, 4):  # no gain along what is free, followers with it
        for factor in (0.99, 1.01):
            moved = fit.theta.clone()
            moved[k] *= factor
            for i, j in priors.tied:
                moved[i] = moved[j]
            other = fit._replace(theta=moved)
            assert posterior_of(other, X, y, spec, priors) < float(fit.objective) + 1e-3
    with plainly():
        plain = gp_fit(X, y, spec, priors)
    assert float(plain.objective) == pytest.approx(float(fit.objective), abs=3e-3)


def test_all_fixed_is_one_evaluation() -> None:
    X, y = problem(2, 9, 1)
    fixed = GpBox.fixed(0.5)
    priors = GpPriors((fixed, fixed), fixed, fixed)
    for how in (gp_fit, _plain_fit):
        fit = how(X, y, smooth(1), priors)
        assert int(fit.evaluations) == 1
        assert bool(fit.converged)
        assert fit.theta.tolist() == [0.5, 0.5]


def _plain_fit(*args: Any, **more: Any) -> GpFit:
    with plainly():
        return gp_fit(*args, **more)


def test_known_noise_is_added() -> None:
    X, y = problem(4, 40, 3)
    spec, priors = smooth(3), GpPriors.botorch(smooth(3))
    known = torch.linspace(0.0, 0.5, 40, dtype=torch.float64)
    for how in (gp_fit, _plain_fit):
        fit = how(X, y, spec, priors, known_noise=known)
        mll = ops.gp_mll(X, y, fit.theta, fit.noise + known, fit.mean, spec)
        own = posterior_of(fit, X, y, spec, priors) - float(
            ops.gp_mll(X, y, fit.theta, fit.noise, fit.mean, spec).value
        )
        assert float(fit.objective) == pytest.approx(float(mll.value) + own, rel=1e-10)
    none = gp_fit(X, y, spec, priors)
    zero = gp_fit(X, y, spec, priors, known_noise=torch.zeros_like(known))
    assert float(zero.objective) == pytest.approx(float(none.objective), rel=1e-9)


def test_restarts_are_drawn_from_the_priors_by_the_seed() -> None:
    X, y = problem(5, 20, 2)
    theta = (GpBox.positive(prior=LogNormal(1.0, 0.5)), GpBox.positive(), GpBox.fixed(1.3))
    priors = GpPriors(
        theta, GpBox.positive(prior=Gamma(2.0, 4.0)), GpBox(-INF, INF, 0.2, Normal(1.0, 2.0))
    )
    seen: list[Tensor] = []

    def spy(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(args[7])
        return _plain(*args)

    with replaced(spy):
        for seed in (0, 0, 1):
            gp_fit(X, y, GpSpec.product("rbf", (0, 1)), priors, restarts=400, seed=seed, max_iter=0)
        gp_fit(X, y, GpSpec.product("rbf", (0, 1)), priors, restarts=3, seed=0, max_iter=0)
    first, same, other, few = seen
    assert first.shape == (401, 1, 5)
    assert torch.equal(first, same)
    assert torch.equal(first[:4], few)  # a draw does not depend on how many there are
    assert not torch.equal(first[1:], other[1:])
    drawn = first[1:, 0]
    assert bool((drawn[:, 2] == 1.3).all())
    assert float(drawn[:, 0].log().mean()) == pytest.approx(1.0, abs=0.12)
    assert float(drawn[:, 0].log().std()) == pytest.approx(0.5, abs=0.08)
    assert float(drawn[:, 3].mean()) == pytest.approx(0.5, abs=0.1)
    assert float(drawn[:, 4].mean()) == pytest.approx(1.0, abs=0.4)
    spread = torch.corrcoef(drawn[:, [0, 1, 3, 4]].T) - torch.eye(4)
    assert float(spread.abs().max()) < 0.2


def test_restarts_can_only_help() -> None:
    X, y = problem(6, 25, 4, sort="white")
    priors = GpPriors.botorch(smooth(4))
    one = gp_fit(X, y, smooth(4), priors)
    many = gp_fit(X, y, smooth(4), priors, restarts=6, seed=3)
    assert many.objectives.shape == (7,)
    assert float(many.objectives[0]) == float(one.objective)
    assert float(many.objective) == float(many.objectives.max())
    assert int(many.start) == int(many.objectives.argmax())
    assert int(many.evaluations) > int(one.evaluations)


def test_many_models_are_each_alone_and_threads_change_nothing() -> None:
    X, _ = problem(7, 30, 3)
    y = torch.stack([problem(s, 30, 3)[1] for s in range(4)])
    spec, priors = smooth(3), GpPriors.botorch(smooth(3))
    known = torch.rand(4, 30, generator=torch.Generator().manual_seed(0)).double()
    starts = 0.2 + torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1)).double()

    def run() -> GpFit:
        return gp_fit(X, y, spec, priors, known_noise=known, starts=starts, restarts=0)

    with threads(1):
        one = run()
    with threads(2):
        for _ in range(3):
            assert all(torch.equal(a, b) for a, b in zip(run(), one, strict=True))
    for m in range(4):
        alone = gp_fit(X, y[m], spec, priors, known_noise=known[m], starts=starts[:, m])
        assert all(torch.equal(a, b[m]) for a, b in zip(alone, one, strict=True))
    apart = gp_fit(X.expand(4, 30, 3), y, spec, priors, known_noise=known, starts=starts)
    assert all(torch.equal(a, b) for a, b in zip(apart, one, strict=True))


def test_limits_are_kept_and_said() -> None:
    X, y = problem(8, 40, 5)
    priors = GpPriors.botorch(smooth(5))
    for how in (gp_fit, _plain_fit):
        short = how(X, y, smooth(5), priors, max_iter=2)
        assert GP_FIT_STOPS[int(short.stops[0])] == "iterations"
        assert not bool(short.converged)
        few = how(X, y, smooth(5), priors, max_evaluations=4)
        assert GP_FIT_STOPS[int(few.stops[0])] == "evaluations"
        assert not bool(few.converged)
        start = how(X, y, smooth(5), priors, max_iter=0)
        assert float(few.objective) >= float(start.objective)
    assert int(gp_fit(X, y, smooth(5), priors, max_evaluations=4).evaluations) == 4


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_data(n: int) -> None:
    X, y = torch.rand(n, 2).double(), torch.zeros(n).double()
    priors = GpPriors.botorch(smooth(2))
    fit = gp_fit(X, y, smooth(2), priors)
    assert bool(fit.converged)
    assert all(bool(torch.isfinite(t.double()).all()) for t in fit)
    if n == 0:  # the priors' modes, or the ends nearest to them
        for k, box in enumerate((*priors.theta[:2], priors.noise)):
            assert isinstance(box.prior, LogNormal)
            got = float(fit.theta[k] if k < 2 else fit.noise)
            assert got == pytest.approx(max(box.prior.mode, box.low), rel=1e-3)


def test_a_failed_start_is_reported_and_all_failed_is_an_error() -> None:
    X, y = problem(9, 12, 2)
    y = y * 1e160  # of a small noise and outputscale, the likelihood overflows
    box, noise = GpBox(1e-6, INF, 1.0), GpBox(1e-6, INF, 1.0)
    priors = GpPriors((box, box, GpBox(1e-9, INF, 1.0)), noise, GpBox(-INF, INF, 0.0))
    bad = torch.tensor([1.0, 1.0, 1.0, 1e-3, 0.0], dtype=torch.float64)
    good = torch.tensor([1.0, 1.0, 1e290, 1e290, 0.0], dtype=torch.float64)
    for how in (gp_fit, _plain_fit):
        fit = how(X, y, smooth(2), priors, starts=torch.stack([bad, good]), max_iter=3)
        assert GP_FIT_STOPS[int(fit.stops[0])] == "failed"
        assert math.isnan(float(fit.objectives[0]))
        assert int(fit.start) == 1
        assert math.isfinite(float(fit.objective))
        with pytest.raises(
            (RuntimeError, DataError), match=r"every start of model 0 failed: start 0: .*got"
        ):
            how(X, y, smooth(2), priors, starts=bad[None])


def test_no_gradient_passes() -> None:
    X, y = problem(1, 6, 1)
    fit = gp_fit(X.requires_grad_(), y.requires_grad_(), smooth(1), GpPriors.botorch(smooth(1)))
    assert not fit.theta.requires_grad
    boxes = torch.tensor([[1e-3, 10.0, 0.0, 1.0]] * 4).double()
    args = ([0] * 4, [0, 1, 2, 3], boxes, torch.ones(1, 1, 4).double(), 5, 50, 1e-5, 1e-7)
    found, _, _ = torch.ops.jobs_bench.gp_fit(
        X[None], y[None], torch.empty(1, 0).double(), smooth(1).code, *args
    )
    with pytest.raises(RuntimeError, match="has none"):
        found.sum().backward()


def test_registration() -> None:
    X, y = problem(1, 6, 1)
    boxes = torch.tensor([[1e-3, 10.0, 0.0, 1.0]] * 4).double()
    args = ([0] * 4, [0, 1, 2, 3], boxes, torch.ones(2, 1, 4).double(), 5, 50, 1e-5, 1e-7)
    torch.library.opcheck(
        torch.ops.jobs_bench.gp_fit.default,
        (X[None], y[None], torch.empty(1, 0).double(), smooth(1).code, *args),
    )


# --- what does not fit


def change(**more: Any) -> dict[str, Any]:
    X, y = problem(1, 6, 2)
    return {"X": X, "y": y, "spec": smooth(2), "priors": GpPriors.botorch(smooth(2))} | more


NAN_ROW = torch.zeros(6, 2).double().fill_diagonal_(math.nan)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"X": NAN_ROW}, r"got X\[0, 0\] = nan; wanted finite"),
    ({"X": torch.ones(5, 2).double()}, r"got X \(5, 2\); wanted \(6, -1\)"),
    ({"X": torch.ones(6, 1).double()}, r"got X \(6, 1\); wanted at least 2 columns"),
    ({"X": torch.ones(6, 2)}, "got X of torch.float32; wanted torch.float64"),
    ({"y": torch.full((6,), INF).double()}, "got y.* inf; wanted finite"),
    ({"y": torch.ones(6)}, "got y of torch.float32"),
    ({"known_noise": torch.full((6,), -0.5).double()}, "got known_noise -0.5; wanted at least 0"),
    ({"known_noise": torch.ones(3).double()}, r"got known_noise \(3,\); wanted \(6,\)"),
    ({"known_noise": torch.full((6,), math.nan).double()}, "got known_noise.* nan; wanted finite"),
    ({"starts": torch.ones(4).double()}, r"got starts \(4,\); wanted \(-1, 5\)"),
    ({"starts": torch.ones(0, 5).double()}, "got no starts; wanted at least one"),
    ({"starts": torch.full((1, 5), math.nan).double()}, "got starts.* nan; wanted finite"),
    ({"restarts": -1}, "got restarts -1, seed 0; wanted at least 0"),
    ({"seed": -1}, "seed -1; wanted"),
    ({"max_iter": -1}, "got max_iter -1, .* wanted at least 0"),
    ({"decrease_tol": math.nan}, "decrease_tol nan; wanted"),
    ({"priors": GpPriors.botorch(smooth(3))}, "got priors of 4 parameters; wanted 3"),
    (
        {"priors": GpPriors((GpBox(0.0, 1.0, 0.5),) * 3, GpBox.fixed(0.1), GpBox.fixed(0.0))},
        r"got a box from 0.0 for theta\[0\], a lengthscale; wanted a low above 0",
    ),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_arguments_that_do_not_fit_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        gp_fit(**change(**bad))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GpBox(1.0, 0.5, 0.7), r"got start 0.7 in \[1.0, 0.5\]"),
        (
            lambda: GpBox(0.0, 1.0, 2.0),
            r"got start 2.0 in \[0.0, 1.0\]; wanted it finite and inside",
        ),
        (lambda: GpBox(0.0, 1.0, 0.5, Gamma(1.0, 1.0)), "got low 0.0 with Gamma.*; wanted a low"),
        (lambda: GpBox(math.nan, 1.0, 0.5), "got start 0.5 in"),
        (lambda: Gamma(-1.0, 1.0), "got concentration -1.0; wanted finite and above 0"),
        (lambda: LogNormal(0.0, 0.0), "got scale 0.0; wanted finite and above 0"),
        (lambda: Normal(INF, 1.0), "got loc inf; wanted finite"),
        (
            lambda: GpPriors((GpBox.fixed(1.0),), GpBox(0.0, 1.0, 0.5), GpBox.fixed(0.0)),
            "got a noise from 0.0; wanted a low above 0",
        ),
        (
            lambda: GpPriors(
                (GpBox.fixed(1.0),) * 2, GpBox.fixed(1.0), GpBox.fixed(0.0), ((0, 1),)
            ),
            r"got tie \(0, 1\); wanted two indices of 2 parameters",
        ),
    ],
)
def test_impossible_priors_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build()


def test_the_operator_itself_refuses(native: None) -> None:
    X, y = problem(1, 6, 1)
    good: dict[str, Any] = {
        "X": X[None],
        "y": y[None],
        "known_noise": torch.empty(1, 0).double(),
        "spec": smooth(1).code,
        "priors": [0] * 4,
        "leaders": [0, 1, 2, 3],
        "boxes": torch.tensor([[1e-3, 10.0, 0.0, 1.0]] * 4).double(),
        "starts": torch.ones(1, 1, 4).double(),
        "max_iter": 5,
        "max_evaluations": 50,
        "gradient_tol": 1e-5,
        "decrease_tol": 1e-7,
    }
    op = torch.ops.jobs_bench.gp_fit
    op(**good)
    for bad in (
        {"X": X[None].float()},
        {"X": X},
        {"y": y[None, :3].contiguous()},
        {"known_noise": torch.full((1, 6), -1.0).double()},
        {"known_noise": torch.ones(1, 5).double()},
        {"priors": [0] * 3},
        {"priors": [9] * 4},
        {"leaders": [0, 1, 2]},
        {"leaders": [1, 1, 2, 3]},
        {"leaders": [0, 1, 0, 3]},
        {"boxes": torch.ones(3, 4).double()},
        {"boxes": torch.tensor([[0.0, 10.0, 0.0, 1.0]] * 4).double()},
        {"boxes": torch.tensor([[2.0, 1.0, 0.0, 1.0]] * 4).double()},
        {"starts": torch.ones(0, 1, 4).double()},
        {"starts": torch.ones(1, 2, 4).double(), "y": y.expand(3, 6)},
        {"starts": torch.full((1, 1, 4), math.nan).double()},
        {"max_evaluations": 0},
    ):
        with pytest.raises(RuntimeError, match="got"):
            op(**(good | bad))


def test_strategies_kernels_can_be_said() -> None:
    """A trend over steps plus a landscape that drifts: boxes put together by hand."""
    X, y = problem(3, 25, 4)
    X[:, 1] = (X[:, 1] * 3).floor()
    spec = GpSpec(
        (
            GpTerm("matern52", (3,)),
            GpTerm("matern52", (0, 2), (1,), (GpFidelity("linear_truncated", 3),)),
        )
    )
    product = GpPriors.botorch(GpSpec.product("matern52", (0, 2), (1,)))
    theta = (
        GpBox.positive(prior=LogNormal(0.0, 0.5)),
        GpBox.positive(prior=Gamma(2.0, 1.0)),
        *product.theta[:-1],
        GpBox(1e-4, INF, 0.3, Gamma(2.0, 5.0)),
        GpBox.fixed(0.0),
        GpBox.positive(prior=Gamma(2.0, 2.0)),
    )
    fit = gp_fit(X, y, spec, replace(product, theta=theta))
    assert bool(fit.converged)
    assert float(fit.theta[-2]) == 0.0
    assert float(fit.objective) > float(
        gp_fit(X, y, spec, replace(product, theta=theta), max_iter=0).objective
    )


PRIOR_TYPES: tuple[GpPrior, ...] = (None, LogNormal(0.0, 1.0), Gamma(2.0, 3.0), Normal(1.0, 1.0))


@pytest.mark.parametrize("prior", PRIOR_TYPES)
def test_native_densities_are_the_plain_ones(native: None, prior: GpPrior) -> None:
    X, y = problem(1, 8, 1)
    box = GpBox(1e-3, 100.0, 0.6, prior)
    priors = GpPriors((box, GpBox.fixed(1.0)), GpBox.fixed(0.1), GpBox.fixed(0.0))
    fit = gp_fit(X, y, smooth(1), priors)
    plain = _plain_fit(X, y, smooth(1), priors)
    assert float(fit.objective) == pytest.approx(float(plain.objective), abs=1e-5)
    assert float(fit.theta[0]) == pytest.approx(float(plain.theta[0]), rel=1e-2)
