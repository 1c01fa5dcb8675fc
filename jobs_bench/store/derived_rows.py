"""Rows of the derived tables of a study, gathered by column in one walk through its journal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from jobs_bench.budget import Budget, Ledger
from jobs_bench.store.codec import Event, charge_from_json, read_number, value_from_json
from jobs_bench.store.columns import Columns, Row
from jobs_bench.store.folder import Manifest

_STUDY = ("study", "strategy", "task", "seed")
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "trials": {
        "trial": "int64",
        "parent": "Int64",
        "segments": "int64",
        "step": "int64",
        "status": "str",
        "score": "float64",
        "se": "float64",
        "spent": "float64",
        "retired": "bool",
    },
    "segments": {
        "segment": "int64",
        "trial": "int64",
        "parent": "Int64",
        "start": "int64",
        "until": "int64",
        "trial_seed": "int64",
        "status": "str",
        "error": "str",
        "cost": "float64",
        "spent": "float64",
    },
    "points": {
        "trial": "int64",
        "segment": "int64",
        "step": "int64",
        "metric": "str",
        "mean": "float64",
        "se": "float64",
        "n": "int64",
        "spent": "float64",
    },
    "charges": {
        "trial": "int64",
        "segment": "int64",
        "category": "str",
        "tok": "int64",
        "flop": "float64",
        "x": "float64",
        "s": "float64",
    },
    "recommendations": {
        "spent": "float64",
        "score": "float64",
        "low": "float64",
        "high": "float64",
        "trial": "Int64",
        "reason": "str",
        "config": "str",
    },
    "oracle": {
        "who": "str",
        "oracle_seed": "int64",
        "status": "str",
        "step": "Int64",
        "metric": "str",
        "mean": "float64",
        "se": "float64",
        "n": "int64",
        "config": "str",
    },
}
TABLES: Final = tuple(_COLUMNS)


def study_name(manifest: Manifest) -> str:
    """Return what names a study in its tables, wherever its folder lies."""
    place = manifest.task if manifest.model is None else f"{manifest.task}-{manifest.model}"
    return f"{place}/{manifest.strategy}/seed-{manifest.seed}"


def arrow_tables(
    manifest: Manifest, events: Sequence[Event], facts: Mapping[str, str] | None = None
) -> dict[str, pa.Table]:
    """Return `tables` as Arrow tables, with `facts` in their metadata."""
    found = {name: Columns(types) for name, types in _COLUMNS.items()}
    trials: dict[int, dict[str, Any]] = {}
    ledger = Ledger(manifest.full_run_flop)
    currency = Budget.parse(manifest.budget).currency
    segment = 0
    for event in events:
        payload = event.payload
        if event.type == "finished":
            charges = [charge_from_json(c) for c in payload["charges"]]
            ledger.add(charges)
            cost, spent = ledger.convert(charges, currency), ledger.spent(currency)
            _finished(found, payload, segment, cost, spent, manifest.full_run_flop)
            _update(trials, payload, cost)
            segment += 1
        elif event.type == "asked":
            for proposal in payload["proposals"]:
                if proposal["kind"] == "retire" and proposal["trial"] in trials:
                    trials[proposal["trial"]]["retired"] = True
        elif event.type == "recommended":
            found["recommendations"].add(_recommendation(payload))
        elif event.type == "oracle":
            for row in _oracle(payload):
                found["oracle"].add(row)
    for trial in trials.values():
        found["trials"].add(tuple(trial[name] for name in _COLUMNS["trials"]))
    _add_configs(found["trials"], [t["config"] for t in trials.values()])
    keys: dict[str, str | int] = dict(
        zip(
            _STUDY,
            (study_name(manifest), manifest.strategy, manifest.task, manifest.seed),
            strict=True,
        )
    )
    return {name: columns.table(keys, facts or {}) for name, columns in found.items()}


def _finished(
    found: Mapping[str, Columns],
    payload: Mapping[str, Any],
    index: int,
    cost: float,
    spent: float,
    full_run_flop: float,
) -> None:
    segment = payload["segment"]
    trial = segment["trial"]
    found["segments"].add(
        (
            index, trial, segment["parent"], segment["start"], segment["until"], segment["seed"],
            payload["status"], payload["error"], cost, spent,
        )
    )  # fmt: skip
    _points(found["points"].lists(), payload["points"], trial, index, spent)
    for charge in payload["charges"]:
        flop = read_number(charge["flop"])
        seconds = float(charge.get("s", math.nan))
        found["charges"].add(
            (trial, index, charge["category"], charge["tok"], flop, flop / full_run_flop, seconds)
        )


def _points(
    columns: Sequence[list[Any]], points: Sequence[Any], trial: int, segment: int, spent: float
) -> None:
    """Append the points of a segment to the columns of ``points``: there may be millions."""
    trials, segments, steps, metrics, means, errors, counts, spents = columns
    before = len(steps)
    for point in points:
        measured = _measured(point)
        steps.extend([point["step"]] * len(measured))
        for name, mean, error, n in measured:
            metrics.append(name)
            means.append(mean)
            errors.append(error)
            counts.append(n)
    more = len(steps) - before
    trials.extend([trial] * more)
    segments.extend([segment] * more)
    spents.extend([spent] * more)


def _measured(point: Mapping[str, Any]) -> list[tuple[str, float, float, int]]:
    """Return (metric, mean, se, n) of everything measured."""
    mean, se, n = point["score"]
    found = [("score", float(mean), float(se), n)]  # float reads "nan" and "inf" as written
    for name, (mean, se, n) in point["metrics"].items():
        found.append((name, float(mean), float(se), n))
    for domain, loss in point["domain_losses"].items():
        found.append((f"loss.{domain}", float(loss), math.nan, 0))
    for domain, share in point.get("shares", {}).items():
        found.append((f"share.{domain}", float(share), math.nan, 0))
    return found


def _update(trials: dict[int, dict[str, Any]], payload: Mapping[str, Any], cost: float) -> None:
    segment = payload["segment"]
    trial = trials.setdefault(
        segment["trial"],
        {
            "trial": segment["trial"],
            "parent": segment["parent"],
            "segments": 0,
            "step": segment["start"],
            "score": math.nan,
            "se": math.nan,
            "spent": 0.0,
            "retired": False,
            "config": segment["config"],
        },
    )
    trial["segments"] += 1
    trial["status"] = payload["status"]
    trial["spent"] += cost
    if payload["status"] == "ok":
        trial["step"] = segment["until"]
    if payload["points"]:
        score = value_from_json(payload["points"][-1]["score"])
        trial["score"], trial["se"] = score.mean, score.se


def _recommendation(payload: Mapping[str, Any]) -> Row:
    numbers = [
        math.nan if payload[name] is None else read_number(payload[name])
        for name in ("spent", "score", "low", "high")
    ]
    return (*numbers, payload["trial"], payload["reason"], _json(payload["config"]))


def _oracle(payload: Mapping[str, Any]) -> list[Row]:
    outcome = payload["outcome"]
    config = "" if payload["config"] is None else _json(payload["config"])
    head = (payload["who"], payload["seed"], outcome["status"])
    if not outcome["points"]:
        return [(*head, None, "score", math.nan, math.nan, 0, config)]
    point = outcome["points"][-1]
    return [(*head, point["step"], *measured, config) for measured in _measured(point)]


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)


def _add_configs(table: Columns, configs: Sequence[Mapping[str, Any]]) -> None:
    """Add one column an axis and one a domain of a mixture, in order of first appearance."""
    flat = [_flat(config) for config in configs]
    taken = {*_STUDY, *table.types}
    for name in dict.fromkeys(name for config in flat for name in config):
        kind, values = _typed([config.get(name) for config in flat])
        table.insert(f"config.{name}" if name in taken else name, kind, values)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{domain}": weight for domain, weight in value.items()})
        else:
            flat[name] = ",".join(value) if isinstance(value, list) else value
    return flat


def _typed(values: list[Any]) -> tuple[str, list[Any]]:
    """Return a column with its type: whole numbers, numbers, or text."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, int) for v in present):
        return "Int64", [None if v is None else int(v) for v in values]
    if all(isinstance(v, (int, float)) for v in present):
        return "float64", [None if v is None else float(v) for v in values]
    return "str", [None if v is None else str(v) for v in values]
