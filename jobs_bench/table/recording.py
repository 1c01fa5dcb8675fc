"""A recording under way: its plan, the append-only files of its workers, and the table they make.

``recording.yaml`` fixes what is recorded; ``part-<k>.jsonl`` holds one line a trial, written by one
worker, flushed to the disk before the next trial begins. A line torn by a crash is cut off when the
worker comes back. Whatever has been recorded can be made into a table at any time.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml

from jobs_bench.errors import DataError, OptionError, StorageError
from jobs_bench.space.configuration import Configuration
from jobs_bench.table.design import part_of
from jobs_bench.table.header import TableHeader
from jobs_bench.table.table import TRIAL_COLUMNS, Table, spread
from jobs_bench.trial import Status, Value

PLAN: Final = "recording.yaml"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is recorded; fixed when the recording begins.

    Attributes:
        name: Of the table.
        tasks: Specs of the live tasks that one training run is scored on.
        signatures: Theirs.
        model: Base model, ``None``: the tasks' own.
        configs: Configurations of the design.
        seeds: Training seeds of each; seed 0 of all comes first.
        steps: Steps at which curves have points.
        design_seed: Of the design.
        versions: Of the packages that results depend on.
    """

    name: str
    tasks: tuple[str, ...]
    signatures: tuple[str, ...]
    model: str | None
    configs: int
    seeds: int
    steps: tuple[int, ...]
    design_seed: int
    versions: Mapping[str, str]

    def order(self) -> list[tuple[int, int]]:
        """Return (configuration, seed) of every trial in the order of the recording."""
        return [(c, s) for s in range(self.seeds) for c in range(self.configs)]


@dataclass(frozen=True, slots=True)
class RecordedPoint:
    """All that was measured at a step, under the table's column names."""

    step: int
    metrics: Mapping[str, Value]
    domain_losses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """One training run.

    Attributes:
        config: Number of the configuration.
        seed: Number of the seed.
        status: How it ended.
        points: Its curve, in step order.
        train: Tokens and FLOPs of a whole run, by the task's cost model.
        evals: Tokens and FLOPs of one evaluation, by target.
        run_s: Seconds it took: CPU seconds on a CPU, wall-clock seconds on a GPU.
        error: What went wrong.
    """

    config: int
    seed: int
    status: Status
    points: tuple[RecordedPoint, ...]
    train: tuple[float, float]
    evals: Mapping[str, tuple[float, float]]
    run_s: float
    error: str = ""


def open_plan(folder: Path, plan: Plan) -> None:
    """Begin a recording in `folder`, or check that the one there is `plan`.

    Raises:
        OptionError: Another one is there; the message names what differs.
    """
    path = folder / PLAN
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(plan).items()}
        temporary = folder / f"{PLAN}.{os.getpid()}"
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        temporary.replace(path)
        return
    have = read_plan(folder)
    differ = [f.name for f in fields(Plan) if getattr(have, f.name) != getattr(plan, f.name)]
    if differ:
        told = "; ".join(f"{n}: {getattr(have, n)} there, {getattr(plan, n)} here" for n in differ)
        raise OptionError(f"{path}: another recording was begun here ({told}); wanted the same")


def read_plan(folder: Path) -> Plan:
    """Return the plan of the recording in `folder`.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = folder / PLAN
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Plan(
            name=data["name"],
            tasks=tuple(data["tasks"]),
            signatures=tuple(data["signatures"]),
            model=data["model"],
            configs=data["configs"],
            seeds=data["seeds"],
            steps=tuple(data["steps"]),
            design_seed=data["design_seed"],
            versions=data["versions"],
        )
    except FileNotFoundError as err:
        raise DataError("there is none; wanted the folder of a recording", path) from err
    except (yaml.YAMLError, KeyError, TypeError) as err:
        raise DataError(f"is no plan of a recording: {err}", path) from err


def part_files(folder: Path) -> list[Path]:
    """Return the files of all workers, in order."""
    return sorted(folder.glob("part-*.jsonl"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a worker's file; a torn last one is left out.

    Raises:
        DataError: A damaged line before the last one.
    """
    lines = path.read_bytes().split(b"\n")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(json.loads(line))
        except ValueError as err:
            raise DataError(f"a damaged line: {err}", path, number) from err
    return found


def done(folder: Path) -> set[tuple[int, int]]:
    """Return (configuration, seed) of every recorded trial."""
    return {(r["config"], r["seed"]) for p in part_files(folder) for r in read_lines(p)}


class PartWriter:
    """Appends trials to a worker's file; one writer at a time.

    Raises:
        StorageError: Another process writes to it.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._path = folder / f"part-{worker}.jsonl"
        self._file = self._path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            self._file.close()
            raise StorageError(f"{self._path}: another recording writes to it") from err
        whole = self._path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(whole)

    def append(self, trial: RecordedTrial) -> None:
        """Write a trial and wait until it is on the disk."""
        line = json.dumps(_to_json(trial), separators=(",", ":"), allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@contextmanager
def writing(folder: Path, worker: int) -> Iterator[PartWriter]:
    """Open a worker's file for appending."""
    writer = PartWriter(folder, worker)
    try:
        yield writer
    finally:
        writer.close()


def assemble(folder: Path, header: TableHeader, configs: Sequence[Configuration]) -> Table:
    """Return the table of what has been recorded so far, in the order of the plan.

    Args:
        folder: Of the recording.
        header: Of the table.
        configs: The design; configuration numbers index it.

    Raises:
        DataError: Nothing was recorded, or one trial twice with different results.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for path in part_files(folder):
        for line in read_lines(path):
            key = (line["config"], line["seed"])
            if key in found and found[key]["points"] != line["points"]:
                raise DataError(f"configuration {key[0]} seed {key[1]} stands there twice", path)
            found.setdefault(key, line)
    lines = [found[key] for key in read_plan(folder).order() if key in found]
    if not lines:
        raise DataError("nothing was recorded yet", folder)
    return Table(header, _trials(header, lines, configs), _points(header, lines))


def _trials(
    header: TableHeader, lines: Sequence[Mapping[str, Any]], configs: Sequence[Configuration]
) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines):
        row: dict[str, Any] = {
            "trial": number,
            "config": line["config"],
            "seed": line["seed"],
            "part": part_of(line["config"]),
            "status": line["status"],
            "run_s": line["run_s"],
            "train_tok": line["train"][0],
            "train_flop": line["train"][1],
        }
        for target in header.targets:
            row[f"eval_tok.{target.name}"], row[f"eval_flop.{target.name}"] = line["evals"][
                target.name
            ]
        rows.append(row)
    frame = pd.DataFrame(rows).astype(dict(TRIAL_COLUMNS))
    return pd.concat([frame, spread(header.space, [configs[r["config"]] for r in rows])], axis=1)


def _points(header: TableHeader, lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = ["trial", "step"]
    for metric in header.metrics:
        columns += [metric.name, f"{metric.name}.se"]
    columns += [f"loss.{domain}" for domain, _ in header.domains]
    rows = []
    for number, line in enumerate(lines):
        for point in line["points"]:
            row: dict[str, Any] = {"trial": number, "step": point["step"]}
            for name, (mean, se) in point["metrics"].items():
                row[name], row[f"{name}.se"] = mean, se
            row |= {f"loss.{d}": value for d, value in point["losses"].items()}
            rows.append(row)
    frame = pd.DataFrame(rows, columns=columns)
    types = {c: "int64" if c in ("trial", "step") else "float64" for c in columns}
    return frame.astype(types)


def _to_json(trial: RecordedTrial) -> dict[str, Any]:
    return {
        "config": trial.config,
        "seed": trial.seed,
        "status": trial.status,
        "run_s": round(trial.run_s, 3),
        "train": list(trial.train),
        "evals": {name: list(cost) for name, cost in trial.evals.items()},
        "error": trial.error,
        "points": [
            {
                "step": p.step,
                "metrics": {n: [_finite(v.mean), _finite(v.se)] for n, v in p.metrics.items()},
                "losses": {n: _finite(v) for n, v in p.domain_losses.items()},
            }
            for p in trial.points
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
