"""The conformance kit over every installed strategy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pytest

from jobs_bench.strategy.contract import Strategy
from jobs_bench.testing.strategy_contract import check_strategy
from jobs_bench_strategies.random import Random
from jobs_bench_strategies.rungs.hyperband import Hyperband

INSTALLED = {p.name: p for p in entry_points(group="jobs_bench.strategies")}
# little work: the kit checks the contract, not the quality
CHEAPER: dict[str, dict[str, Any]] = {
    "bo": {"n_init": 2},
    "mf_bo": {"n_init": 2, "levels": 2},
    "jobs_paper": {"epochs": 10, "short": 0.4},
    "regmix": {"regressor": "ridge"},
}


def _maker(name: str, **more: Any) -> Callable[[], Strategy]:
    factory = INSTALLED[name].load()
    options = {**CHEAPER.get(name, {}), **more}
    return lambda: factory(**options)


def _wraps(name: str) -> bool:
    return "base" in inspect.signature(INSTALLED[name].load()).parameters


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_contract(name: str) -> None:
    if _wraps(name):
        check_strategy(_maker(name, base=Random))
    else:
        check_strategy(_maker(name), quick=name == "jobs_paper")  # its perceptron takes a second


@pytest.mark.parametrize(
    "name", ["alternating", "data_only", "independent", "model_only", "repeat"]
)
@pytest.mark.parametrize("base", ["hyperband", "bo"])
def test_wrapped(name: str, base: str) -> None:
    inner = Hyperband if base == "hyperband" else _maker("bo")
    check_strategy(_maker(name, base=inner), quick=True)


@pytest.mark.parametrize(
    ("rule", "sampler"),
    [("hyperband", "sobol"), ("sh", "sobol"), ("pasha", "sobol"), ("asha", "bo")],
)
def test_any_sampler_under_any_rung_rule(rule: str, sampler: str) -> None:
    check_strategy(_maker(rule, sampler=_maker(sampler)), quick=True)


def test_stopping_rule() -> None:
    check_strategy(_maker("asha", rule="stopping"))
