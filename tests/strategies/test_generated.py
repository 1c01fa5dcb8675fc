"""The contract on problems that nobody thought of: generated spaces, pools, workers, failures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs_bench.fidelity import Fidelity
from jobs_bench.registry.loading import strategy_factory
from jobs_bench.space.axes import Block, Categorical, Float, Int, Subset
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Condition, Space
from jobs_bench.strategy.contract import Strategy
from jobs_bench.testing.strategy_contract import (
    Case,
    check_ask_is_pure,
    check_replay,
    check_studies,
)
from jobs_bench.testing.synthetic import Synthetic, pool

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]

OFTEN = (
    "random",
    "sobol",
    "sh",
    "hyperband",
    "asha",
    "pasha",
    "bohb",
    "dehb",
    "uniform",
    "natural",
)
SELDOM = (
    "bo", "turbo", "tpe", "cmaes", "mobster", "jobs", "mf_bo", "mf_kg", "mf_mes", "freeze_thaw",
    "regmix", "olmix", "mixmin", "dsir", "data_mixing_laws", "autoscale_ddo", "odm", "doge",
    "hyperband?sampler=bo", "independent(hyperband)", "alternating(bo)", "data_only(random)",
    "model_only(sh)", "repeat(hyperband)",
)  # fmt: skip
"""As a user would name them; those whose ask takes long try fewer problems."""


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A mixture and up to four axes of any kind, some of which depend on a category."""
    k = draw(st.integers(1, 5))
    floor = draw(st.sampled_from([0.0, 0.01, 0.1 / k]))
    caps: tuple[float, ...] = ()
    if k > 1 and draw(st.booleans()):
        caps = tuple(draw(st.floats(1.5 / k, 1.0)) for _ in range(k))
    axes: list[Float | Int | Categorical | Subset | Simplex] = [
        Simplex("mixture", tuple(f"d{i}" for i in range(k)), floor=floor, caps=caps)
    ]
    conditions: list[Condition] = []
    parent = draw(st.booleans())
    if parent:
        axes.append(Categorical("method", ("lora", "dora", "full")))
    for name in NAMES[: draw(st.integers(0, 4))]:
        block: Block = "train" if draw(st.booleans()) else "model"
        low = draw(st.sampled_from([1e-5, 0.1, 1.0]))
        kind = draw(st.sampled_from(["float", "log", "int", "one", "category", "subset"]))
        if kind in ("float", "log"):
            axes.append(Float(name, low, low * 100, log=kind == "log", block=block))
        elif kind == "int":
            axes.append(Int(name, 1, draw(st.integers(2, 40)), log=draw(st.booleans())))
        elif kind == "one":
            axes.append(Int(name, 3, 3))
        elif kind == "category":
            axes.append(Categorical(name, ("x", "y", "z")[: draw(st.integers(1, 3))]))
        else:
            axes.append(Subset(name, ("q", "k", "v"), min=draw(st.integers(1, 2))))
        if parent and draw(st.booleans()):
            conditions.append(
                Condition(name, "method", draw(st.sampled_from([("lora",), ("lora", "dora")])))
            )
    return Space(tuple(axes), tuple(conditions))


@st.composite
def problems(draw: st.DrawFn) -> Case:
    space = draw(spaces())
    steps = draw(st.sampled_from([(1, 3, 9, 27), (10, 20, 30), (5,), (1, 2, 4, 8, 16, 32, 64)]))
    candidates = None
    if draw(st.integers(0, 3)) == 0:
        candidates = pool(space, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    task = Synthetic(
        space,
        Fidelity(steps),
        noise=draw(st.sampled_from([0.0, 0.01, 1.0])),
        seed=draw(st.integers(0, 1000)),
        fail_share=draw(st.sampled_from([0.0, 0.3, 1.0])),
        nan_share=draw(st.sampled_from([0.0, 0.3, 1.0])),
        candidates=candidates,
    )
    budget = draw(st.sampled_from(["0.4x", "1x", "2.5x", "4x"]))
    return Case(f"generated: {task} at {budget}", task, budget, draw(st.integers(1, 3)))


def _check(spec: str, examples: int) -> None:
    make: Callable[[], Strategy] = strategy_factory(spec)

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(problems())
    def hold(case: Case) -> None:
        check_studies(make, [case])
        check_ask_is_pure(make, [case])
        check_replay(make, [case], most=6)

    hold()


@pytest.mark.parametrize("spec", OFTEN)
def test_cheap_strategies(spec: str) -> None:
    _check(spec, 20)


@pytest.mark.parametrize("spec", SELDOM)
def test_strategies_that_think(spec: str) -> None:
    _check(spec, 6)
