"""What is installed: plug-ins by entry point, listed without importing any of them.

A built-in's health is judged by reading its source (its module is there, has the name, and what
it imports at the top exists). Somebody else's plug-in is imported as well, in a process of its own,
and the answer is remembered until its file changes.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from jobs_bench.errors import PluginError, UnknownNameError

STRATEGIES = "jobs_bench.strategies"
CONTROLLERS = "jobs_bench.controllers"
TASKS = "jobs_bench.tasks"
MODELS = "jobs_bench.models"
EXECUTORS = "jobs_bench.executors"
SUITES = "jobs_bench.suites"

KINDS = {
    STRATEGIES: "strategy",
    CONTROLLERS: "controller",
    TASKS: "task",
    MODELS: "model",
    EXECUTORS: "executor",
    SUITES: "suite",
}

OURS = "jobs-bench"

PROBE_SECONDS = 60
_PROBE = "import importlib as i,sys;m,_,a=sys.argv[1].partition(':');getattr(i.import_module(m),a)"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One registered name.

    Attributes:
        name: As registered.
        value: ``module:attribute``.
        distribution: Who brings it.
        version: Of that distribution.
        status: ``ok`` or ``broken``.
        problem: Why it is broken, else empty.
    """

    name: str
    value: str
    distribution: str
    version: str
    status: str = "ok"
    problem: str = ""


def registered(group: str) -> dict[str, list[EntryPoint]]:
    """Return every registered name with its entry points: one, unless two plug-ins clash."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        others = found.setdefault(point.name, [])
        if all(point.value != other.value for other in others):
            others.append(point)
    return dict(sorted(found.items()))


def find(group: str, name: str) -> EntryPoint:
    """Return the entry point called `name`.

    Raises:
        UnknownNameError: There is none.
        PluginError: Two plug-ins claim the name.
    """
    known = registered(group)
    if name not in known:
        raise UnknownNameError(KINDS.get(group, group), name, known)
    points = known[name]
    if len(points) > 1:
        raise PluginError(_clash(group, points))
    return points[0]


def _clash(group: str, points: Iterable[EntryPoint]) -> str:
    claims = " and ".join(f"{p.value} (of {_owner(p)[0]})" for p in points)
    name = next(iter(points)).name
    return f"two plug-ins claim the {KINDS.get(group, group)} {name!r}: {claims}; uninstall one"


def _owner(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")


def listing(group: str, cache: Path | None = None) -> list[Plugin]:
    """Return all plug-ins of a group, broken ones included.

    Args:
        group: Entry-point group.
        cache: File that remembers how imports of other people's plug-ins went; ``None``: none.
    """
    known = registered(group)
    strangers = [p for points in known.values() for p in points if _owner(p)[0] != OURS]
    verdicts = _probe_all(strangers, cache) if strangers else {}
    plugins = []
    for points in known.values():
        for point in points:
            problem = _clash(group, points) if len(points) > 1 else _read(point)
            problem = problem or verdicts.get(point.value, "")
            owner, version = _owner(point)
            status = "broken" if problem else "ok"
            plugins.append(Plugin(point.name, point.value, owner, version, status, problem))
    return plugins


def _source(module: str) -> Path | None:
    """Return the file of a module, found without importing anything; ``None`` when not found."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(p) for p in spec.submodule_search_locations or ()]
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in folders:
        stem = folder.joinpath(*rest)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


def _read(point: EntryPoint) -> str:
    """Return what is wrong with a plug-in's source, or an empty text."""
    path = _source(point.module)
    if path is None:
        return f"module {point.module} was not found"
    if path.suffix != ".py":
        return ""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as err:
        return f"{path.name} cannot be read: {err}"
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(a.asname or a.name.split(".")[0] for a in node.names)
            missing = _missing_import(node)
            if missing:
                return f"{path.name} imports {missing}, which is not installed"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(t.id for t in targets if isinstance(t, ast.Name))
    attr = point.attr.split(".")[0]
    return "" if attr in names else f"{path.name} has no {attr}"


def _missing_import(node: ast.Import | ast.ImportFrom) -> str:
    if isinstance(node, ast.ImportFrom):
        modules = [node.module] if node.module and not node.level else []
    else:
        modules = [a.name for a in node.names]
    for module in modules:
        top = module.split(".")[0]
        if top not in sys.stdlib_module_names and importlib.util.find_spec(top) is None:
            return top
    return ""


def _probe_all(points: list[EntryPoint], cache: Path | None) -> dict[str, str]:
    remembered: dict[str, str] = {}
    if cache is not None and cache.is_file():
        try:
            remembered = json.loads(cache.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            remembered = {}  # a cache: made anew below
    verdicts: dict[str, str] = {}
    fresh = False
    for point in points:
        path = _source(point.module)
        stamp = f"{path}@{path.stat().st_mtime_ns}" if path else "absent"
        key = f"{sys.executable}|{point.value}|{_owner(point)[1]}|{stamp}"
        if key not in remembered:
            remembered[key], fresh = _probe(point.value), True
        verdicts[point.value] = remembered[key]
    if fresh and cache is not None:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
            temporary.write_text(json.dumps(remembered), encoding="utf-8")
            temporary.replace(cache)
        except OSError:
            return verdicts  # a cache that cannot be written costs time, nothing else
    return verdicts


def _probe(value: str) -> str:
    command = [sys.executable, "-P", "-c", _PROBE, value]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"its import did not end within {PROBE_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"its import ended with status {done.returncode}"
