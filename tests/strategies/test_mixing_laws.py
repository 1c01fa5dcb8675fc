"""data_mixing_laws and autoscale_ddo: their arithmetic, what they find, what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.space.axes import Float
from jobs_bench.space.configuration import Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import Strategy
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies.mixing._laws import fit_log_linear
from jobs_bench_strategies.mixing.autoscale_ddo import AutoScaleDdo, design, optimum
from jobs_bench_strategies.mixing.autoscale_ddo import extrapolate as extrapolate_amounts
from jobs_bench_strategies.mixing.data_mixing_laws import (
    DataMixingLaws,
    MixOfLaws,
    extrapolate,
    importance,
)

Study = Callable[..., Machine]


def test_curves_of_one_exponent_are_taken_to_the_horizon() -> None:
    steps = np.asarray([4.0, 8.0, 16.0, 32.0])
    a, b = np.asarray([[1.0], [2.0]]), np.asarray([[3.0], [0.5]])
    c = float(np.geomspace(0.1, 2.0, 14)[6])
    found = extrapolate(steps, a + b * steps**-c, 128.0)
    assert found == pytest.approx((a + b * 128.0**-c).ravel())
    assert extrapolate(steps[:2], (a + b * steps**-c)[:, :2], 128.0) == pytest.approx(
        (a + b * 8.0**-c).ravel()
    )
    rising = extrapolate(steps, np.asarray([[1.0, 1.1, 1.2, 1.3]]), 128.0)
    assert rising == pytest.approx([1.15]), "no curve falls upwards: the mean stands"


def test_the_target_is_a_mix_of_domain_losses() -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(size=(20, 3))
    target = 5.0 + losses @ np.asarray([3.0, 0.0, 1.0])
    assert importance(losses, target) == pytest.approx([0.75, 0.0, 0.25], abs=1e-9)
    # a domain that goes against the target counts nothing, and equal weights are left
    assert importance(losses[:, :1], -losses[:, 0]) == pytest.approx([1.0])
    assert importance(losses, np.zeros(20)) == pytest.approx([1 / 3] * 3)


def test_the_gradient_of_a_mix_is_its_derivative() -> None:
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(3), size=20)
    laws = tuple(fit_log_linear(w, 2.0 + np.exp(w @ t)) for t in rng.normal(size=(2, 3)))
    mix = MixOfLaws(laws, np.asarray([0.3, 0.7]))
    at, step = w[0], 1e-6
    for i in range(3):
        moved = np.array([at, at])
        moved[:, i] += [step, -step]
        high, low = mix(moved)
        assert mix.gradient(at)[i] == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-8)


def test_a_domain_is_varied_threefold_each_way() -> None:
    rows = design(np.asarray([0.5, 0.5]))
    wanted = [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.75, 0.25]]
    assert rows == pytest.approx(np.asarray(wanted))


def test_optimal_amounts_of_planted_curves() -> None:
    """The optimum of fitted curves is that of the planted ones, found on a grid."""
    base = np.asarray([0.5, 0.3, 0.2])
    rows = design(base)

    def loss(w: np.ndarray) -> np.ndarray:
        found: np.ndarray = 2.0 * (w[:, 0] + 0.2) ** -0.7 + 0.3 * (w[:, 1] + 0.2) ** -0.5
        return found

    # each domain's curve sees the loss with the others' amounts moved a little as well
    found = optimum(rows, loss(rows), np.ones(3))
    grid = np.random.default_rng(0).dirichlet(np.ones(3), size=20_000)
    best = grid[loss(grid).argmin()]
    assert found[0] > base[0]
    assert found[2] < base[2]
    assert loss(found[None])[0] < loss(base[None])[0]
    assert loss(found[None])[0] - loss(best[None])[0] < 0.3 * (
        loss(base[None])[0] - loss(best[None])[0]
    )
    capped = optimum(rows, loss(rows), np.asarray([0.55, 1.0, 1.0]))
    assert capped[0] <= 0.55 + 1e-6


def test_amounts_are_powers_of_the_length() -> None:
    """From 100 to 200 steps: 50 to 140 of the first (x 2.8), 50 to 60 (x 1.2); then to 400."""
    found = extrapolate_amounts(np.asarray([0.5, 0.5]), np.asarray([0.7, 0.3]), 100, 200, 400)
    q = np.asarray([140 * 2.8, 60 * 1.2])
    assert found == pytest.approx(q / q.sum())


@pytest.mark.parametrize("make", [DataMixingLaws, AutoScaleDdo])
def test_they_run_proxies_and_then_their_mixture_in_full(
    study: Study, make: Callable[[], Strategy]
) -> None:
    machine = study(make(), Synthetic(seed=3), "8x")
    trials = list(machine.history)
    assert [t.note["phase"] for t in trials][-1] == "full"
    assert trials[-1].step == 81
    recommended = machine.recommendation
    assert recommended is not None
    assert recommended.config == trials[-1].config
    assert "derives from" in recommended.reason


def test_laws_go_where_the_losses_fall(study: Study) -> None:
    """Domain losses of the test problem fall with each domain's own share, alike."""
    space = Space((Simplex("mixture", ("d0", "d1", "d2")), Float("unused", 0.0, 1.0)))
    task = Synthetic(space=space, noise=0.0, interaction=0.0, seed=5)
    strategy = DataMixingLaws(short=0.3)
    study(strategy, task, "10x")
    found, optimum_ = strategy.recommend().config["mixture"], task.optimum()["mixture"]
    assert isinstance(found, Mixture)
    assert isinstance(optimum_, Mixture)
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
    assert max(found.values()) < 0.99, "the sum of convex laws has its minimum inside"


def test_they_refuse_what_cannot_be_before_anything_is_spent() -> None:
    with pytest.raises(CapabilityError, match="needs the losses of single domains"):
        DataMixingLaws().setup(Synthetic().problem("8x", capabilities=("resume", "curves")))
    with pytest.raises(OptionError, match="wanted 7 runs of that length"):
        AutoScaleDdo(short=1.0).setup(Synthetic().problem("6x"))
    with pytest.raises(OptionError, match="got short=0"):
        AutoScaleDdo(short=0.0)
