"""A bench folder: simulated studies as they come in, and the tables they are merged into.

``bench.yaml`` says what was run; ``studies.jsonl`` holds one line a study, appended by one writer
(a line torn by a crash is cut off on resume); ``studies.parquet`` and ``trace.parquet`` are merged
from it at the end, in the order of the studies' plan. Their bytes depend on the studies alone, with
one exception: ``overhead_s`` is measured (and ``virtual_s`` and ``time_s`` are where the overhead
policy is ``measured``).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml

from jobs_bench.errors import DataError, OptionError, StorageError

VERSION: Final = 1
HEADER: Final = "bench.yaml"
JOURNAL: Final = "studies.jsonl"
NOT_APPLICABLE: Final = "not applicable"
"""Status of a study whose strategy needs what its task cannot give."""
STUDIES: Final[Mapping[str, str]] = {
    "study_id": "str",
    "task": "str",
    "task_signature": "str",
    "strategy": "str",
    "label": "str",
    "seed": "int64",
    "workers": "int64",
    "budget": "float64",
    "status": "str",
    "reason": "str",
    "recommended": "str",
    "believed": "float64",
    "believed_low": "float64",
    "believed_high": "float64",
    "oracle": "float64",
    "oracle_se": "float64",
    "n_trials": "int64",
    "n_full": "int64",
    "cost_train": "float64",
    "cost_eval": "float64",
    "cost_proxy": "float64",
    "overhead_s": "float64",
    "virtual_s": "float64",
    "versions": "str",
}
TRACE: Final[Mapping[str, str]] = {
    "study_id": "str",
    "spent": "float64",
    "time_s": "float64",
    "score": "float64",
    "config": "str",
}


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """One study to simulate.

    Attributes:
        task: Task spec.
        strategy: Strategy spec.
        label: Name in tables and figures.
        seed: Study seed.
        workers: Virtual workers.
        budget: Full-run equivalents.
        overhead: Policy, as `Overhead` reads it.
    """

    task: str
    strategy: str
    label: str
    seed: int
    workers: int
    budget: float
    overhead: str = "free"

    @property
    def study_id(self) -> str:
        """Return 16 hexadecimal digits; two labels of one spec are two studies."""
        plain = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]


def orders(
    tasks: Sequence[str],
    strategies: Mapping[str, str],
    seeds: Sequence[int],
    workers: Sequence[int],
    budgets: Sequence[float],
    overhead: str,
) -> list[StudyOrder]:
    """Return the cross product; `strategies` are specs by label."""
    return [
        StudyOrder(task, spec, label, seed, w, budget, overhead)
        for task in tasks
        for budget in budgets
        for w in workers
        for label, spec in strategies.items()
        for seed in seeds
    ]


def open_bench(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Begin a bench in `folder`, or go on with the one there; return its header.

    Args:
        folder: Made where it is missing.
        facts: What was asked for: ``plan`` must be that of the bench that is there.

    Raises:
        OptionError: Another bench is there, or one of other versions.
        DataError: A header that cannot be read.
    """
    path = folder / HEADER
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        header = {"version": VERSION, **facts, "state": "running", "seconds": 0.0}
        write_header(folder, header)
        return header
    header = read_header(folder)
    for part in ("plan", "versions"):
        if header.get(part) != facts[part]:
            old, new = header.get(part) or {}, facts[part]
            differ = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
            raise OptionError(
                f"{path}: the bench there has another {part} (they differ in "
                f"{', '.join(differ)}); wanted the same to go on, or another --out"
            )
    return header


def read_header(folder: Path) -> dict[str, Any]:
    """Return what ``bench.yaml`` holds.

    Raises:
        DataError: It is missing, or of another version.
    """
    path = folder / HEADER
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise DataError("there is none; wanted the folder of a bench", path) from err
    except yaml.YAMLError as err:
        raise DataError(f"is no YAML: {err}", path) from err
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise DataError(f"is no header of a bench of version {VERSION}", path)
    return header


def write_header(folder: Path, header: Mapping[str, Any]) -> None:
    """Write ``bench.yaml``, whole or not at all."""
    temporary = folder / f"{HEADER}.tmp"
    text = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True, width=100)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / HEADER)


class Results:
    """The journal of a bench, open for appending; one writer.

    Attributes:
        done: The studies that are there, by id.

    Raises:
        StorageError: Another process writes to it.
        DataError: A damaged line before the last one.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / JOURNAL
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            self._file.close()
            raise StorageError(f"{path}: another bench writes to it") from err
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)
        self.done = {line["study"]["study_id"] for line in read_results(folder)}

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one study."""
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self.done.add(line["study"]["study_id"])

    def close(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()


@contextmanager
def results(folder: Path) -> Iterator[Results]:
    """Open the journal of a bench."""
    opened = Results(folder)
    try:
        yield opened
    finally:
        opened.close()


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of the journal.

    Raises:
        DataError: A damaged line before the last one.
    """
    path = folder / JOURNAL
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            found.append(json.loads(line))
        except ValueError as err:
            raise DataError(f"a damaged line: {err}", path, number) from err
    return found


def merge(folder: Path, plan: Iterable[StudyOrder]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``studies.parquet`` and ``trace.parquet`` in the order of `plan`; return both.

    Raises:
        DataError: A study of the plan is missing.
    """
    lines = {line["study"]["study_id"]: line for line in read_results(folder)}
    wanted = [order.study_id for order in plan]
    lacking = [study_id for study_id in wanted if study_id not in lines]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(wanted)} studies are missing: {lacking[:3]}", folder
        )
    studies = pd.DataFrame([lines[i]["study"] for i in wanted], columns=list(STUDIES))
    rows = [(i, *point) for i in wanted for point in lines[i]["trace"]]
    trace = pd.DataFrame.from_records(rows, columns=list(TRACE))
    studies, trace = studies.astype(dict(STUDIES)), trace.astype(dict(TRACE))
    for name, frame in (("studies", studies), ("trace", trace)):
        temporary = folder / f"{name}.parquet.tmp"
        frame.to_parquet(temporary, index=False, compression="zstd")
        temporary.replace(folder / f"{name}.parquet")
    return studies, trace
