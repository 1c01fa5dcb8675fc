"""What the listing commands print."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs_bench.errors import UnknownNameError
from jobs_bench.registry import catalogue
from jobs_bench.task.sources import cache_root

GROUPS = {
    "strategies": catalogue.STRATEGIES,
    "tasks": catalogue.TASKS,
    "controllers": catalogue.CONTROLLERS,
}


def plugins(kind: str) -> list[dict[str, str]]:
    """Return one object a plug-in: name, distribution, version, status, problem, entry point."""
    cache = cache_root() / "plugins.json"
    return [
        {
            "name": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "status": p.status,
            "problem": p.problem,
            "entry_point": p.value,
        }
        for p in catalogue.listing(GROUPS[kind], cache)
    ]


def models() -> list[dict[str, str]]:
    """Return one object a model that has a name."""
    return [a for a in _assets() if a.pop("kind") == "model"]


def _assets() -> list[dict[str, str]]:
    from jobs_bench.assets.fetch import known

    return [
        {
            "name": a.name,
            "kind": a.kind,
            "status": a.state,
            "licence": a.licence,
            "summary": a.summary,
        }
        for a in known()
    ]


def info(name: str, model: str | None, data_dir: Path | None) -> dict[str, Any]:
    """Return all that is known of a strategy, a task or a controller.

    A name that a strategy and its controller share is the strategy's.

    Raises:
        UnknownNameError: None of them is called so.
    """
    from jobs_bench.registry.spec import Spec

    plain = Spec.parse(name).name
    if plain in catalogue.registered(catalogue.STRATEGIES):
        return _strategy_info(plain)
    if plain in catalogue.registered(catalogue.TASKS):
        return _task_info(name, model, data_dir)
    if plain in catalogue.registered(catalogue.CONTROLLERS):
        return _controller_info(plain)
    known = [n for group in GROUPS.values() for n in catalogue.registered(group)]
    raise UnknownNameError("strategy, task or controller", plain, sorted(set(known)))


def _options(factory: Any, skip: int) -> dict[str, str]:
    parameters = list(inspect.signature(factory).parameters.values())[skip:]
    return {
        p.name: "required" if p.default is p.empty else f"default {p.default!r}"
        for p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def _strategy_info(name: str) -> dict[str, Any]:
    from jobs_bench.registry.loading import distribution_of, load

    factory = load(catalogue.STRATEGIES, name)
    about = factory.info
    return {
        "strategy": name,
        "summary": about.summary,
        "blocks": list(about.blocks),
        "needs": sorted(about.needs),
        "target_blind": about.target_blind,
        "reference": about.reference,
        "options": _options(factory, 0),
        "distribution": distribution_of(catalogue.STRATEGIES, name),
        "about": inspect.getdoc(factory) or "",
    }


def _controller_info(name: str) -> dict[str, Any]:
    from jobs_bench.registry.loading import distribution_of, load

    factory = load(catalogue.CONTROLLERS, name)
    return {
        "controller": name,
        "options": _options(factory, 0),
        "distribution": distribution_of(catalogue.CONTROLLERS, name),
        "about": inspect.getdoc(factory) or "",
    }


def _task_info(spec: str, model: str | None, data_dir: Path | None) -> dict[str, Any]:
    from jobs_bench.cli.compose import Bench, BenchSpec
    from jobs_bench.registry.loading import load
    from jobs_bench.registry.spec import Spec

    bench = Bench(BenchSpec(spec, model, None if data_dir is None else str(data_dir)))
    about, fidelity = bench.task.info, bench.task.fidelity()
    references = bench.task.references()
    return {
        "task": spec,
        "summary": about.summary,
        "model": bench.model_name,
        "metric": about.metric.name,
        "metrics": [m.name for m in about.metrics],
        "domains": dict(about.domains),
        "items": {"visible": about.items[0], "hidden": about.items[1]},
        "steps": list(fidelity.steps),
        "space": {a.name: _axis(a) for a in bench.task.space().axes},
        "default_recipe": references.default.to_json(),
        "noise_floor": references.noise_floor,
        "options": _options(load(catalogue.TASKS, Spec.parse(spec).name), 1),
        "tags": list(about.tags),
        "licence": about.licence,
        "reference": about.reference,
        "signature": bench.task.signature(),
    }


def _axis(axis: Any) -> str:
    return f"{type(axis).__name__} of block {axis.block}, default {axis.default_value()!r}"


def estimate(task: str, model: str | None, data_dir: Path | None, budget: str) -> dict[str, Any]:
    """Return what a study would cost, by the task's cost model."""
    from jobs_bench.budget import Budget
    from jobs_bench.cli.compose import Bench, BenchSpec

    bench = Bench(BenchSpec(task, model, None if data_dir is None else str(data_dir)))
    total = Budget.parse(budget)
    default, fidelity = bench.task.references().default, bench.task.fidelity()
    charges = bench.task.cost(default, 0, fidelity.horizon)
    shortest = bench.task.cost(default, 0, fidelity.lo)
    full_flop = bench.full_run_flop()
    facts: dict[str, Any] = {
        "task": task,
        "model": bench.model_name,
        "budget": str(total),
        "full_run": {c.category: {"tok": c.tok, "flop": c.flop} for c in charges},
        "full_run_flop": full_flop,
        "shortest_segment_x": round(sum(c.flop for c in shortest) / full_flop, 4),
        "steps": list(fidelity.steps),
    }
    if total.currency == "x":
        facts["full_runs_in_budget"] = total.limit
        facts["budget_flop"] = total.limit * full_flop
        facts["budget_tok"] = round(total.limit * sum(c.tok for c in charges))
    elif total.currency == "flop":
        facts["full_runs_in_budget"] = total.limit / full_flop
    elif total.currency == "tok":
        facts["full_runs_in_budget"] = total.limit / sum(c.tok for c in charges)
    facts["not_charged"] = "oracle runs after the search: the recommendation and the default recipe"
    return facts


def doctor() -> dict[str, Any]:
    """Return the state of the installation."""
    from jobs_bench import ops
    from jobs_bench.cli.provenance import hardware, versions

    broken = {
        f"{kind} {row['name']}": row["problem"]
        for kind in GROUPS
        for row in plugins(kind)
        if row["status"] != "ok"
    }
    backend = ops.backend_record()
    return {
        "versions": versions(),
        "hardware": hardware(),
        "native operators": backend["native"] or f"none: {backend['why_no_native']}",
        "broken plug-ins": broken or "none",
        "models and data": {a["name"]: a["status"] for a in _assets()},
        "cache": str(cache_root()),
    }


def table(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print rows; columns that are empty throughout are left out."""
    if not rows:
        console.print("none")
        return
    names = [n for n in rows[0] if any(r.get(n) not in ("", None) for r in rows)]
    grid = Table(box=None, header_style="bold")
    for i, name in enumerate(names):
        grid.add_column(name, overflow="fold" if i == 0 else "ellipsis")  # names stay whole
    for row in rows:
        grid.add_row(*(escape(_text(row.get(n))) for n in names))
    console.print(grid)


def facts(console: Console, data: dict[str, Any]) -> None:
    """Print names and values, nested ones indented."""
    for name, value in data.items():
        if isinstance(value, dict):
            console.print(f"[bold]{escape(str(name))}[/bold]")
            for inner, deep in value.items():
                console.print(f"  {escape(str(inner))}: {escape(_text(deep))}", highlight=False)
        else:
            console.print(
                f"[bold]{escape(str(name))}[/bold]: {escape(_text(value))}", highlight=False
            )


def leaderboard(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the leaderboard of a report."""
    shown = [
        {
            "task": r["task"],
            "strategy": r["strategy"],
            "score": r["score"],
            "95 % interval": _interval(r["ci_low"], r["ci_high"]),
            "seeds": r["seeds"],
            "spent": r["spent"],
        }
        for r in rows
    ]
    table(console, shown)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items())
    return str(value)
