"""Tables of a study for pandas: derived from its journal, always rebuildable.

Every table begins with the columns ``study, strategy, task, seed``. A trial's configuration is
spread over columns under the names of its axes, a mixture over ``mixture.<domain>``; an axis whose
name is taken by another column becomes ``config.<name>``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from jobs_bench.budget import Budget, Ledger
from jobs_bench.store.codec import Event, charge_from_json, read_number, value_from_json
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import read

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

Row = tuple[Any, ...]


def derive(folder: StudyFolder) -> dict[str, pd.DataFrame]:
    """Return the tables of a study, read from its journal.

    Raises:
        JournalError: The manifest or the journal is missing or damaged.
    """
    return tables(folder.manifest(), read(folder.events).events)


def write(folder: StudyFolder, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write tables to ``derived/<table>.parquet``, each there whole or not at all."""
    folder.derived.mkdir(exist_ok=True)
    for name, frame in frames.items():
        path = folder.derived / f"{name}.parquet"
        temporary = path.with_name(path.name + ".tmp")
        frame.to_parquet(temporary, index=False)
        temporary.replace(path)


def study_name(manifest: Manifest) -> str:
    """Return what names a study in its tables, wherever its folder lies."""
    place = manifest.task if manifest.model is None else f"{manifest.task}-{manifest.model}"
    return f"{place}/{manifest.strategy}/seed-{manifest.seed}"


def tables(manifest: Manifest, events: Sequence[Event]) -> dict[str, pd.DataFrame]:
    """Return one frame for each of `TABLES`.

    ``spent`` is in the budget's currency: in ``points`` and ``segments`` everything the study had
    spent when the outcome was told, in ``trials`` what the trial cost. In ``points`` the metric
    ``score`` is the one that was searched with (higher is better), the others go by their own names
    and directions, and ``loss.<domain>`` is a domain's loss.
    """
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
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
            _finished(rows, payload, segment, cost, spent, manifest.full_run_flop)
            _update(trials, payload, cost)
            segment += 1
        elif event.type == "asked":
            for proposal in payload["proposals"]:
                if proposal["kind"] == "retire" and proposal["trial"] in trials:
                    trials[proposal["trial"]]["retired"] = True
        elif event.type == "recommended":
            rows["recommendations"].append(_recommendation(payload))
        elif event.type == "oracle":
            rows["oracle"] += _oracle(payload)
    for trial in trials.values():
        rows["trials"].append(tuple(trial[name] for name in _COLUMNS["trials"]))
    frames = {name: _frame(name, rows[name]) for name in TABLES}
    configs = _config_columns([t["config"] for t in trials.values()], frames["trials"])
    frames["trials"] = pd.concat([frames["trials"], configs], axis=1)
    keys: tuple[str | int, ...] = (
        study_name(manifest), manifest.strategy, manifest.task, manifest.seed,
    )  # fmt: skip
    for frame in frames.values():
        for i, (name, key) in enumerate(zip(_STUDY, keys, strict=True)):
            frame.insert(
                i, name, pd.Series([key] * len(frame), index=frame.index, dtype=_type(key))
            )
    return frames


def _type(key: str | int) -> str:
    return "int64" if isinstance(key, int) else "str"


def _frame(name: str, rows: list[Row]) -> pd.DataFrame:
    types = _COLUMNS[name]
    frame = pd.DataFrame.from_records(rows, columns=list(types))
    return frame.astype(types)


def _finished(
    rows: dict[str, list[Row]],
    payload: Mapping[str, Any],
    index: int,
    cost: float,
    spent: float,
    full_run_flop: float,
) -> None:
    segment = payload["segment"]
    trial = segment["trial"]
    rows["segments"].append(
        (
            index, trial, segment["parent"], segment["start"], segment["until"], segment["seed"],
            payload["status"], payload["error"], cost, spent,
        )
    )  # fmt: skip
    for point in payload["points"]:
        step = point["step"]
        rows["points"] += [(trial, index, step, *found, spent) for found in _measured(point)]
    for charge in payload["charges"]:
        flop = read_number(charge["flop"])
        seconds = float(charge.get("s", math.nan))
        rows["charges"].append(
            (trial, index, charge["category"], charge["tok"], flop, flop / full_run_flop, seconds)
        )


def _measured(point: Mapping[str, Any]) -> list[tuple[str, float, float, int]]:
    """Return (metric, mean, se, n) of everything measured; there may be millions of these."""
    mean, se, n = point["score"]
    found = [
        ("score", float(mean), float(se), n)
    ]  # float reads "nan" and "inf" as they are written
    found += [(name, float(m), float(e), k) for name, (m, e, k) in point["metrics"].items()]
    losses = point["domain_losses"].items()
    found += [(f"loss.{domain}", float(loss), math.nan, 0) for domain, loss in losses]
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


def _config_columns(configs: Sequence[Mapping[str, Any]], taken: pd.DataFrame) -> pd.DataFrame:
    """Return one column an axis and one a domain of a mixture, in order of first appearance."""
    flat = [_flat(config) for config in configs]
    names = dict.fromkeys(name for config in flat for name in config)
    columns: dict[str, pd.Series[Any]] = {}
    for name in names:
        free = name not in (*_STUDY, *taken.columns)
        values = [config.get(name) for config in flat]
        columns[name if free else f"config.{name}"] = _series(values)
    return pd.DataFrame(columns, index=taken.index)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{domain}": weight for domain, weight in value.items()})
        else:
            flat[name] = ",".join(value) if isinstance(value, list) else value
    return flat


def _series(values: list[Any]) -> pd.Series[Any]:
    """Return a column of one type: whole numbers, numbers, or text."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, int) for v in present):
        return pd.Series(values, dtype="Int64")
    if all(isinstance(v, (int, float)) for v in present):
        return pd.Series([math.nan if v is None else float(v) for v in values], dtype="float64")
    return pd.Series([None if v is None else str(v) for v in values], dtype="str")
