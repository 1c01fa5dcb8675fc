"""Strategies and tasks by spec, imported when they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, cast

from jobs_bench.errors import PluginError
from jobs_bench.registry.catalogue import CONTROLLERS, STRATEGIES, TASKS, find
from jobs_bench.registry.spec import Spec, typed_options
from jobs_bench.strategy.contract import Strategy
from jobs_bench.strategy.controller import Controller
from jobs_bench.task.contract import Task, TaskSetup


def load(group: str, name: str) -> Any:
    """Return the object registered as `name`.

    Raises:
        UnknownNameError: There is none.
        PluginError: Two plug-ins claim the name, or it cannot be imported.
    """
    point = find(group, name)
    try:
        return point.load()
    except (ImportError, AttributeError, SyntaxError) as err:
        raise PluginError(f"{name} ({point.value}) cannot be imported: {err}") from err


def strategy_factory(spec: str) -> Callable[[], Strategy]:
    """Return a maker of fresh strategies.

    Raises:
        InputError: The spec names no strategy, or its options are wrong.
    """
    parsed = Spec.parse(spec)
    factory = load(STRATEGIES, parsed.name)
    options = typed_options(parsed.name, factory, parsed.options, strategy_factory)

    def make() -> Strategy:
        strategy = factory(**options)
        if not isinstance(strategy, Strategy):
            raise PluginError(
                f"{parsed.name} makes a {type(strategy).__name__}, which lacks part of the "
                "strategy contract: info, setup, ask, tell, recommend"
            )
        return strategy

    return make


def load_strategy(spec: str) -> Strategy:
    """Return a fresh strategy; see `strategy_factory`."""
    return strategy_factory(spec)()


def load_controller(spec: str) -> Controller:
    """Return the controller of a spec.

    Raises:
        InputError: The spec names no controller, or its options are wrong.
    """
    parsed = Spec.parse(spec)
    factory = load(CONTROLLERS, parsed.name)
    options = typed_options(parsed.name, factory, parsed.options, lambda text: text)
    controller = factory(**options)
    if not isinstance(controller, Controller):
        raise PluginError(
            f"{parsed.name} makes a {type(controller).__name__}, which lacks part of the "
            "controller contract: signals, proxies, ends, start, update"
        )
    return controller


def default_model(spec: str) -> str | None:
    """Return the model that a task runs on when the user names none."""
    factory = load(TASKS, Spec.parse(spec).name)
    model = getattr(factory, "default_model", None)
    return cast("str | None", model)


def load_task(spec: str, setup: TaskSetup) -> Task:
    """Return the task of a spec.

    Raises:
        InputError: The spec names no task, its options are wrong, or its data are missing.
    """
    parsed = Spec.parse(spec)
    factory = load(TASKS, parsed.name)
    options = typed_options(parsed.name, factory, parsed.options, lambda text: text, skip=1)
    task = factory(setup, **options)
    if not isinstance(task, Task):
        raise PluginError(f"{parsed.name} makes a {type(task).__name__}, which is no task")
    return task


def distribution_of(group: str, spec: str) -> str:
    """Return ``name version`` of the distribution that brings a plug-in."""
    point: EntryPoint = find(group, Spec.parse(spec).name)
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
