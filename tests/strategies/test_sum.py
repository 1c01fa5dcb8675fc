"""The sum of processes: means and variances add, and its landscape is that of the sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import _log_ei_helper

from jobs_bench.space.native import NativeEncoding
from jobs_bench.testing.synthetic import Synthetic, conditional_space, small_space
from jobs_bench_strategies._acquire import best_few
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._gp_sum import SumSurrogate
from jobs_bench_strategies._log_gain import log_gain
from jobs_bench_strategies._surrogate import LogEI, Ucb

WEIGHTS = (-0.25, -0.5, 2.0)


def _fitted(n: int = 24) -> tuple[SumSurrogate, np.ndarray, np.ndarray, NativeEncoding]:
    space = small_space()
    encoding = NativeEncoding(space)
    rng = np.random.default_rng(0)
    X = encoding.encode_all([space.sample(rng) for _ in range(n)])
    values = np.stack([np.sin(3 * X[:, k]) + 2 * k for k in range(3)], axis=1)
    known = np.full(n, 1e-6)
    return (
        SumSurrogate.fit(X, values, WEIGHTS, "product", encoding, known),
        X,
        values,
        encoding,
    )


def test_means_and_variances_add() -> None:
    model, X, values, _ = _fitted()
    mean, sd = model.predict(X)
    assert mean == pytest.approx(values @ np.asarray(WEIGHTS), abs=0.05)
    joint = model.joint(X) * model.scale.sd**2
    assert np.sqrt(np.diag(joint)) == pytest.approx(sd, abs=1e-6)


def test_believing_takes_the_variance_and_leaves_the_mean() -> None:
    model, X, _, encoding = _fitted()
    new = encoding.encode_all([small_space().sample(np.random.default_rng(9))])
    mean, sd = model.predict(new)
    after, less = model.believing(new).predict(new)
    assert after == pytest.approx(mean, abs=1e-6 * model.scale.sd + 1e-6)
    assert less[0] < 0.7 * sd[0]
    assert model.y.shape == (3, len(X))


def test_it_is_the_sum_of_single_processes() -> None:
    """Each part is what a single surrogate makes of it; the norm is ``r' K^-1 r`` summed up."""
    model, X, values, encoding = _fitted()
    known = np.full(len(X), 1e-6 / sum(w**2 for w in WEIGHTS))
    singles = [
        NativeSurrogate.fit(X, math.copysign(1, w) * column, "product", encoding, known)
        for w, column in zip(WEIGHTS, values.T, strict=True)
    ]
    rows = encoding.encode_all([small_space().sample(np.random.default_rng(5)) for _ in range(6)])
    parts = [single.predict(rows) for single in singles]
    mean, sd = model.predict(rows)
    scales = np.abs(WEIGHTS)
    assert mean == pytest.approx(sum(w * m for w, (m, _) in zip(scales, parts, strict=True)))
    variances = sum((w * s) ** 2 for w, (_, s) in zip(scales, parts, strict=True))
    assert sd == pytest.approx(np.sqrt(variances))
    squares = 0.0
    for single in singles:
        K = single.prior(single.X.numpy()) + np.diag(single.noise_variance.numpy())
        r = (single.y - single.state.mean[0]).numpy()
        squares += float(r @ np.linalg.solve(K, r))
        assert single.norm == pytest.approx(math.sqrt(r @ np.linalg.solve(K, r)), rel=1e-5)
    assert model.norm == pytest.approx(math.sqrt(squares), rel=1e-5)
    prior = np.zeros((len(rows), len(rows)))
    for w, single in zip(scales, singles, strict=True):
        prior += (w * single.scale.sd / model.scale.sd) ** 2 * single.prior(rows)
    assert model.prior(rows) == pytest.approx(prior)


@pytest.mark.parametrize("goal", [LogEI(0.5), Ucb(2.0)])
def test_the_landscape_is_that_of_the_sum(goal: LogEI | Ucb) -> None:
    model, X, _, encoding = _fitted()
    found = model.landscape(goal, encoding).values(X[:5])
    mean, sd = model.predict(X[:5])
    m, s = (mean - model.scale.mean) / model.scale.sd, sd / model.scale.sd
    if isinstance(goal, Ucb):
        assert found == pytest.approx(m + math.sqrt(2.0) * s)
        return
    z = np.random.default_rng(0).standard_normal(2_000_000)
    for k in range(5):
        improvement = np.maximum(m[k] + s[k] * z - goal.best, 0.0).mean()
        if improvement > 1e-3:
            assert found[k] == pytest.approx(math.log(improvement), abs=0.02)


def test_log_gain_is_log_ei_of_botorch() -> None:
    """A process of mean ``x`` and variance 1: improvement over 0 is the gain at ``u = x``."""
    u = torch.tensor([-30.0, -8.0, -6.1, -5.9, -1.0, 0.0, 3.0], dtype=torch.float64)
    helper = _log_ei_helper(u)
    assert log_gain(u.numpy()) == pytest.approx(helper.numpy(), rel=2e-3)


def test_the_search_finds_what_many_draws_do_not_beat() -> None:
    space = conditional_space()
    encoding = NativeEncoding(space)
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(20)]
    X = encoding.encode_all(configs)
    values = np.stack([X[:, 0], (X[:, 1] - 0.3) ** 2], axis=1)
    model = SumSurrogate.fit(X, values, (1.0, -1.0), "product", encoding, np.zeros(20))
    landscape = model.landscape(LogEI(1.0), encoding)
    problem = Synthetic(space).problem("8x")
    found = best_few(landscape, problem, 3, configs[:2], lambda c: c not in configs, 4)
    assert len(set(found)) == len(found) >= 1
    many = encoding.encode_all([space.sample(rng) for _ in range(2000)])
    best = landscape.values(encoding.encode_all(found[:1]))[0]
    assert best >= np.quantile(landscape.values(many), 0.999)
