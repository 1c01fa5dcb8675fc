"""Frozen references: one file a task, versioned, written once and read by every leaderboard.

::

    schema: 1
    task: pocket_word2
    signature: 5e3c...
    version: 1
    random_median: {25.0: 0.61}     # by budget, in full-run equivalents: 0 on the scale
    best_known: 0.83                # 100 on the scale
    noise_floor: 0.012              # standard deviation over training seeds
    source: {...}                   # what it was measured from
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jobs_bench.errors import OptionError, ScaleError
from jobs_bench.report.runs import Run, Runs
from jobs_bench.stats.normalise import Reference
from jobs_bench.store.folder import slug

SCHEMA = 1
MIN_STUDIES = 3
"""Studies of random search that a median is taken over at least."""


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """The references of one task, as its file holds them."""

    task: str
    signature: str
    version: int
    random_median: Mapping[float, float]
    best_known: float
    noise_floor: float
    source: Mapping[str, Any] = field(default_factory=dict)

    def at(self, budget: float) -> Reference | None:
        """Return the scale under a budget, ``None`` where random search was not measured."""
        if budget not in self.random_median:
            return None
        return Reference(
            self.task,
            self.signature,
            self.version,
            budget,
            self.random_median[budget],
            self.best_known,
            self.noise_floor,
        )


def load_references(folder: Path) -> dict[str, ReferenceFile]:
    """Return the reference files of a folder by task; none where there is no folder.

    Raises:
        ScaleError: A file is damaged, or two are of one task.
    """
    found: dict[str, ReferenceFile] = {}
    for path in sorted(folder.glob("*.yaml")):
        one = _read(path)
        if one.task in found:
            raise ScaleError(f"{path}: {one.task} has a reference file already; keep one")
        found[one.task] = one
    return found


def _read(path: Path) -> ReferenceFile:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ScaleError(f"{path}: got schema {data['schema']!r}; this version reads {SCHEMA}")
        file = ReferenceFile(
            task=str(data["task"]),
            signature=str(data["signature"]),
            version=int(data["version"]),
            random_median={float(k): float(v) for k, v in data["random_median"].items()},
            best_known=float(data["best_known"]),
            noise_floor=float(data["noise_floor"]),
            source=data.get("source") or {},
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as err:
        raise ScaleError(f"{path}: no reference file ({err!r})") from err
    for budget in file.random_median:
        file.at(budget)  # refuses what is no scale
    return file


def freeze(
    runs: Runs,
    folder: Path,
    *,
    baseline: str = "random",
    renew: bool = False,
    best_known: Mapping[str, float] | None = None,
    noise_floor: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write a reference file for every task that `baseline` was run on; return their paths.

    The best known score and the noise floor are those given; else what ``bench.yaml`` says of the
    task under ``references``; else the highest oracle score, and the median standard error of the
    oracle scores. Each file says which.

    Args:
        runs: Studies, those of the baseline among them.
        folder: Where the files go.
        baseline: Label of random search.
        renew: Write a new version where there is a file already.
        best_known: By task.
        noise_floor: By task.

    Raises:
        OptionError: No study of the baseline, or too few on a task.
        ScaleError: A file is there already, or the numbers are no scale.
    """
    tasks = sorted({r.task for r in runs.runs if r.label == baseline})
    if not tasks:
        there = ", ".join(sorted({r.label for r in runs.runs})) or "none"
        raise OptionError(f"no study of {baseline!r} to freeze references from; there are: {there}")
    existing = load_references(folder)
    given: dict[str, Mapping[str, Any]] = {}
    for bench in runs.benches:
        given |= bench.facts.get("references") or {}
    files = []
    for task in tasks:
        old = existing.get(task)
        if old is not None and not renew:
            raise ScaleError(
                f"{folder}: {task} has references of version {old.version}; they are frozen "
                "(--renew writes a new version, and every score on the task moves)"
            )
        known = dict(given.get(task) or {})
        for name, more in (("best_known", best_known), ("noise_floor", noise_floor)):
            if more and task in more:
                known[name] = more[task]
        file = _measured([r for r in runs.runs if r.task == task], baseline, known, old)
        for budget in file.random_median:
            file.at(budget)
        files.append(file)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, file) for file in files]


def _measured(
    runs: list[Run], baseline: str, known: Mapping[str, Any], old: ReferenceFile | None
) -> ReferenceFile:
    base = [r for r in runs if r.label == baseline]
    signatures = sorted({r.signature for r in runs})
    if len(signatures) > 1:
        raise OptionError(
            f"{base[0].task}: got studies of {len(signatures)} task signatures "
            f"({', '.join(signatures)}); wanted one"
        )
    medians: dict[float, float] = {}
    for budget in sorted({r.budget for r in base}):
        scores = [r.oracle for r in base if r.budget == budget]
        if len(scores) < MIN_STUDIES:
            raise OptionError(
                f"{base[0].task}: got {len(scores)} studies of {baseline!r} with {budget:g}x; "
                f"wanted at least {MIN_STUDIES}"
            )
        medians[budget] = float(np.median(scores))
    errors = [r.oracle_se for r in runs if np.isfinite(r.oracle_se)]
    best, floor = known.get("best_known"), known.get("noise_floor")
    source = {
        "baseline": baseline,
        "studies": len(base),
        "best_known": "highest oracle score of these studies" if best is None else "given",
        "noise_floor": "median standard error of oracle scores" if floor is None else "given",
    }
    return ReferenceFile(
        task=base[0].task,
        signature=signatures[0],
        version=1 if old is None else old.version + 1,
        random_median=medians,
        best_known=max(r.oracle for r in runs) if best is None else float(best),
        noise_floor=(float(np.median(errors)) if errors else 0.0)
        if floor is None
        else float(floor),
        source=source,
    )


def _write(folder: Path, file: ReferenceFile) -> Path:
    path = folder / f"{_stem(file.task)}.yaml"
    data = {
        "schema": SCHEMA,
        "task": file.task,
        "signature": file.signature,
        "version": file.version,
        "random_median": dict(file.random_median),
        "best_known": file.best_known,
        "noise_floor": file.noise_floor,
        "source": dict(file.source),
    }
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8", newline="\n")
    temporary.replace(path)
    return path


def _stem(task: str) -> str:
    """Return a file name for a task; specs that would share one are told apart by a hash."""
    short = slug(task)
    if short == task:
        return short
    return f"{short}-{hashlib.sha256(task.encode()).hexdigest()[:6]}"
