"""A study as a report sees it: read once from its folder, whatever state that is in."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs_bench.budget import Budget, Category, Ledger
from jobs_bench.errors import JobsBenchError, JournalError
from jobs_bench.store.codec import (
    Event,
    charge_from_json,
    outcome_from_json,
    read_number,
    recommendation_from_json,
)
from jobs_bench.store.folder import Manifest, StudyFolder, study_folders
from jobs_bench.store.journal import read
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import Outcome, Value

State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True, slots=True)
class OracleRun:
    """A full run after the search, scored on the hidden items.

    Attributes:
        seed: Its training seed.
        config: What was trained, ``None``: the base model.
        status: ``ok``, or how it failed.
        value: Its score, ``None`` when it failed.
    """

    seed: int
    config: Mapping[str, object] | None
    status: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """What a report needs of one study.

    Attributes:
        name: Path below the root of the report.
        folder: Its folder.
        state: ``finished`` (closed), ``unfinished`` or ``damaged``.
        detail: What is missing or damaged, empty for a finished study.
        manifest: ``None`` when it cannot be read.
        events: The journal, empty when it cannot be read.
        torn_bytes: Length of a torn last line.
        fingerprint: Hash of the journal; the same for copies of one study.
        spent: In the budget's currency.
        spent_by_category: The same by category.
        trials: Trials with at least one finished segment.
        segments: Finished segments.
        failed: Outcomes of failed segments with their cost in the budget's currency.
        recommendations: In order, each with what was spent by then.
        base_model: Oracle runs of the base model.
        default: Oracle runs of the default recipe.
        recommended: Oracle runs of the last recommendation.
    """

    name: str
    folder: StudyFolder
    state: State
    detail: str = ""
    manifest: Manifest | None = None
    events: tuple[Event, ...] = ()
    torn_bytes: int = 0
    fingerprint: str = ""
    spent: float = 0.0
    spent_by_category: Mapping[Category, float] = field(default_factory=dict)
    trials: int = 0
    segments: int = 0
    failed: tuple[tuple[Outcome, float], ...] = ()
    recommendations: tuple[tuple[float, Recommendation], ...] = ()
    base_model: tuple[OracleRun, ...] = ()
    default: tuple[OracleRun, ...] = ()
    recommended: tuple[OracleRun, ...] = ()

    @property
    def facts(self) -> Manifest:
        """Return the manifest of a study that could be read."""
        if self.manifest is None:
            raise JournalError(f"{self.name}: {self.detail}")
        return self.manifest

    @property
    def best(self) -> Recommendation | None:
        """Return the newest recommendation."""
        return self.recommendations[-1][1] if self.recommendations else None


def load_studies(root: Path) -> list[StudyRecord]:
    """Return every study at or below `root`, ordered by path."""
    return [load_study(folder, _name(folder.root, root)) for folder in study_folders(root)]


def load_study(folder: StudyFolder, name: str) -> StudyRecord:
    """Return a study; one that cannot be read says why in `StudyRecord.detail`."""
    manifest: Manifest | None = None
    try:
        manifest = folder.manifest()
        Budget.parse(manifest.budget)
        if not folder.events.exists():
            return StudyRecord(name, folder, "unfinished", "it was never started", manifest)
        reading = read(folder.events)
        if reading.events and reading.events[0].payload != manifest.facts():
            raise JournalError("the journal is of another study than manifest.json")
        digest = hashlib.sha256(folder.events.read_bytes()[: reading.good_bytes]).hexdigest()
        return _record(name, folder, manifest, reading.events, reading.torn_bytes, digest)
    except JobsBenchError as err:
        detail = str(err).replace(f"{folder.root}/", "")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as err:
        detail = f"an event or the manifest does not hold what it should ({err!r})"
    return StudyRecord(name, folder, "damaged", detail, manifest)


def study_command(manifest: Manifest) -> str:
    """Return the command line that runs the study again, where its data are in the cache."""
    words = ["jobs-bench", "run", "--task", manifest.task, "--strategy", manifest.strategy]
    if manifest.model is not None:
        words += ["--model", manifest.model]
    words += ["--budget", manifest.budget, "--seed", str(manifest.seed)]
    words += ["--workers", str(manifest.workers)]
    words += ["--oracle-seeds", str(len(manifest.oracle_seeds))]
    return shlex.join(words)


def _name(path: Path, root: Path) -> str:
    return path.resolve().name if path == root else path.relative_to(root).as_posix()


def _record(
    name: str,
    folder: StudyFolder,
    manifest: Manifest,
    events: tuple[Event, ...],
    torn_bytes: int,
    fingerprint: str,
) -> StudyRecord:
    ledger = Ledger(manifest.full_run_flop)
    currency = Budget.parse(manifest.budget).currency
    trials: set[int] = set()
    failed: list[tuple[Outcome, float]] = []
    recommendations: list[tuple[float, Recommendation]] = []
    oracle: dict[str, list[OracleRun]] = {"base_model": [], "default": [], "recommended": []}
    for event in events:
        if event.type == "finished":
            charges = [charge_from_json(c) for c in event.payload["charges"]]
            ledger.add(charges)
            trials.add(int(event.payload["segment"]["trial"]))
            if event.payload["status"] != "ok":  # only these are shown: long curves stay unread
                outcome = outcome_from_json(event.payload)
                failed.append((outcome, ledger.convert(charges, currency)))
        elif event.type == "recommended":
            spent = read_number(event.payload["spent"])
            recommendations.append((spent, recommendation_from_json(event.payload)))
        elif event.type == "oracle":
            oracle[event.payload["who"]].append(_oracle_run(event.payload))
    detail = _missing(events)
    return StudyRecord(
        name,
        folder,
        "unfinished" if detail else "finished",
        detail,
        manifest,
        events,
        torn_bytes,
        fingerprint,
        spent=ledger.spent(currency),
        spent_by_category=ledger.by_category(currency),
        trials=len(trials),
        segments=sum(e.type == "finished" for e in events),
        failed=tuple(failed),
        recommendations=tuple(recommendations),
        base_model=tuple(oracle["base_model"]),
        default=tuple(oracle["default"]),
        recommended=tuple(oracle["recommended"]),
    )


def _oracle_run(payload: Mapping[str, Any]) -> OracleRun:
    outcome = outcome_from_json(payload["outcome"])
    final = outcome.final
    value = final.score if outcome.status == "ok" and final is not None else None
    if value is not None and value.mean - value.mean != 0.0:  # NaN or infinite
        return OracleRun(int(payload["seed"]), payload["config"], "diverged", None)
    status = "crashed" if value is None and outcome.status == "ok" else outcome.status
    return OracleRun(int(payload["seed"]), payload["config"], status, value)


def _missing(events: Sequence[Event]) -> str:
    types = {e.type for e in events}
    if not events:
        return "it was never started"
    if events[-1].type == "closed":
        return ""
    if "ended" in types:
        return "its search is over, its oracle runs are not"
    return "its search is not over"
