"""Data-mixing methods: laws on planted and on public runs, proposals against their definition."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.space.axes import Float
from jobs_bench.space.configuration import Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies.mixing._laws import (
    Law,
    fit_gp,
    fit_log_linear,
    fit_ridge,
    fit_trees,
)
from jobs_bench_strategies.mixing._swarm import prior_of, swarm
from jobs_bench_strategies.mixing.fixed import Natural, Uniform
from jobs_bench_strategies.mixing.olmix import Olmix, propose
from jobs_bench_strategies.mixing.regmix import RegMix

Study = Callable[..., Machine]
FITS: dict[str, Callable[[np.ndarray, np.ndarray], Law]] = {
    "gp": fit_gp,
    "ridge": fit_ridge,
    "trees": fit_trees,
    "log_linear": fit_log_linear,
}


def test_the_law_finds_planted_parameters() -> None:
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(4), size=60)
    slopes = np.array([-1.0, 0.5, 0.0, 0.8])
    losses = 1.5 + np.exp(0.3 + w @ slopes)
    law = fit_log_linear(w[:30], losses[:30])
    assert law(w[30:]) == pytest.approx(losses[30:], abs=2e-3)


def test_the_law_s_gradient_is_its_derivative() -> None:
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(3), size=20)
    law = fit_log_linear(w, 2.0 + w @ np.array([0.1, 0.3, -0.4]))
    at, step = w[0], 1e-6
    for i in range(3):
        moved = np.array([at, at])
        moved[:, i] += [step, -step]
        high, low = law(moved)
        assert law.gradient(at)[i] == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("strength", [0.0, 0.05, 10.0])
def test_the_proposal_is_no_worse_than_any_other_mixture(strength: float) -> None:
    rng = np.random.default_rng(2)
    w = rng.dirichlet(np.ones(4), size=40)
    law = fit_log_linear(w, 1.0 + np.exp(w @ np.array([-1.0, 0.5, 0.2, 0.1])))
    prior, caps = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.5, 1.0, 1.0, 1.0])
    found = propose(law, prior, caps, strength)
    assert found.sum() == pytest.approx(1.0)
    assert (found <= caps + 1e-9).all()

    def value(at: np.ndarray) -> np.ndarray:
        safe = np.maximum(at, 1e-9)
        kl: np.ndarray = (safe * np.log(safe / prior)).sum(axis=1)
        return law(at) + strength * kl

    others = rng.dirichlet(np.ones(4), size=20_000)
    others = others[(others <= caps).all(axis=1)]
    assert value(found[None])[0] <= value(others).min() + 1e-6


def test_a_swarm_respects_the_caps_and_varies() -> None:
    simplex = Simplex("mixture", ("a", "b", "c"), caps=(0.5, 0.6, 0.9), prior=(0.7, 0.2, 0.1))
    points = swarm(simplex, prior_of(simplex, {}), 200, np.random.default_rng(0))
    assert points.sum(axis=1) == pytest.approx(np.ones(200))
    assert (points <= np.array([0.5, 0.6, 0.9]) + 1e-9).all()
    assert points.std(axis=0).min() > 0.1


def _planted(study: Study, strategy: RegMix | Olmix) -> tuple[Machine, float]:
    # only the mixture matters, and short runs rank as full ones do
    space = Space((Simplex("mixture", ("d0", "d1", "d2")), Float("unused", 0.0, 1.0)))
    task = Synthetic(space=space, noise=0.0, interaction=0.0, seed=5)
    machine = study(strategy, task, budget="10x")
    found = strategy.recommend().config["mixture"]
    optimum = task.optimum()["mixture"]
    assert isinstance(found, Mixture)
    assert isinstance(optimum, Mixture)
    return machine, sum(abs(found[d] - optimum[d]) for d in found)


def test_regmix_finds_a_planted_mixture(study: Study) -> None:
    machine, distance = _planted(study, RegMix(regressor="trees", short=0.3))
    assert distance < 0.4
    assert [t.step for t in machine.history][-1] == 81


def test_olmix_goes_towards_a_planted_mixture(study: Study) -> None:
    _, close = _planted(study, Olmix(strength=0.0, short=0.3))
    _, held = _planted(study, Olmix(strength=100.0, short=0.3))
    # a strong pull holds it at the natural mixture
    assert close != pytest.approx(held)


def test_a_proposal_that_was_a_proxy_run_goes_on_from_it(study: Study) -> None:
    space = Space((Simplex("mixture", ("d0", "d1")), Float("unused", 0.0, 1.0)))
    pool = tuple(
        space.build({"mixture": Mixture({"d0": w, "d1": 1 - w}), "unused": 0.5})
        for w in (0.1, 0.3, 0.5, 0.7, 0.9)
    )
    task = Synthetic(space=space, noise=0.0, candidates=pool)
    machine = study(RegMix(n_proxies=5, regressor="ridge", short=0.3), task, budget="8x")
    trials = list(machine.history)
    assert len(trials) == 5
    assert sorted(t.step for t in trials) == [27, 27, 27, 27, 81]


def test_fixed_mixtures_train_once(study: Study) -> None:
    for strategy in (Uniform(), Natural()):
        machine = study(strategy, Synthetic(), budget="8x")
        assert len(machine.history) == 1
        assert strategy.recommend().trial_id == 0


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="n_proxies=2"):
        RegMix(n_proxies=2)
    with pytest.raises(OptionError, match="n_proxies=400"):
        RegMix(n_proxies=400).setup(Synthetic().problem("4x"))
    with pytest.raises(OptionError, match="strength"):
        Olmix(strength=-1.0)
    bare = Synthetic(space=Space((Float("x", 0.0, 1.0),)))
    with pytest.raises(CapabilityError, match="one mixture"):
        Uniform().setup(bare.problem("4x"))


@pytest.mark.data
@pytest.mark.skipif("JOBS_BENCH_DATA" not in os.environ, reason="JOBS_BENCH_DATA is not set")
@pytest.mark.parametrize(
    ("name", "least"), [("gp", 0.94), ("ridge", 0.80), ("log_linear", 0.80), ("trees", 0.90)]
)
def test_laws_on_public_runs(name: str, least: float) -> None:
    folder = Path(os.environ["JOBS_BENCH_DATA"]) / "regmix_runs"
    w, losses = _runs(folder, "train", "1m")
    w_held, losses_held = _runs(folder, "test", "1m")
    rhos = []
    for target in ("arxiv", "pile_cc", "dm_mathematics"):
        column = next(i for i, c in enumerate(_columns(folder)) if target in c)
        for first in (0, 32):
            some = slice(first, first + 32)
            law = FITS[name](w[some], losses[some, column])
            rhos.append(spearmanr(law(w_held), losses_held[:, column]).statistic)
    assert np.mean(rhos) >= least


def _columns(folder: Path) -> list[str]:
    with (folder / "train_pile_loss_1m.csv").open() as lines:
        return next(csv.reader(lines))[1:]


def _runs(folder: Path, part: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    tables = [
        np.genfromtxt(folder / f"{part}_{what}_{size}.csv", delimiter=",", skip_header=1)[:, 1:]
        for what in ("mixture", "pile_loss")
    ]
    return tables[0], tables[1]
