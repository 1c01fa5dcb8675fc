"""The study folder, the unit of exchange.

::

    manifest.json    what was run, with which versions, on what kind of machine
    events.jsonl     the journal: deterministic facts, the only source of truth
    timings.jsonl    wall-clock facts: when, how long, which worker; never needed to resume
    local.json       what only this machine knows (where the data are); not part of an exchange
    checkpoints/     of trials that may be resumed
    artifacts/       what the strategy published
    derived/         tables made from the above, always rebuildable
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from jobs_bench.errors import JournalError, OptionError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a study is.

    Attributes:
        task: Task spec, as in ``arc_easy?horizon=50``.
        strategy: Strategy spec, as in ``jobs_paper?n_pilot=8``.
        model: Name of the base model, ``None`` for tasks without one.
        seed: Study seed.
        budget: As in ``8x``.
        workers: Segments that may run at the same time.
        oracle_seeds: Seeds of the oracle's runs after the search.
        signature: Of the task; results of two signatures do not mix.
        metric: Name of the metric behind the score.
        higher_is_better: Its direction.
        steps: Steps at which trials can stand; the last one is the horizon.
        full_run_flop: FLOPs of one full run of the default recipe, the unit of ``x``.
        flop_per_s: Measured speed of a worker, where the budget is in seconds.
        versions: Of the packages and plug-in distributions that ran.
        hardware: Kind of machine: cores, memory, accelerator.
        backend: Which operators were native.
        created: ISO 8601 time in UTC.
        tags: Of the task and the strategy.
        schema: Version of this layout.
    """

    task: str
    strategy: str
    model: str | None
    seed: int
    budget: str
    workers: int
    oracle_seeds: tuple[int, ...]
    signature: str
    metric: str
    higher_is_better: bool
    steps: tuple[int, ...]
    full_run_flop: float
    flop_per_s: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    backend: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    tags: tuple[str, ...] = ()
    schema: int = SCHEMA

    def facts(self) -> dict[str, Any]:
        """Return what the study's outcome depends on: the payload of its first event."""
        kept = (
            "schema", "task", "strategy", "model", "seed", "budget", "workers", "oracle_seeds",
            "signature", "metric", "higher_is_better", "steps", "full_run_flop", "flop_per_s",
        )  # fmt: skip
        plain = json.loads(json.dumps(asdict(self)))
        return {name: plain[name] for name in kept}


class StudyFolder:
    """Paths and small files of one study."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def events(self) -> Path:
        """Return the path of the journal."""
        return self.root / "events.jsonl"

    @property
    def timings(self) -> Path:
        """Return the path of the wall-clock records."""
        return self.root / "timings.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def derived(self) -> Path:
        """Return the folder of derived tables."""
        return self.root / "derived"

    @property
    def artifacts(self) -> Path:
        """Return the folder of the strategy's artifacts."""
        return self.root / "artifacts"

    def exists(self) -> bool:
        """Return whether there is a study here."""
        return (self.root / "manifest.json").is_file()

    def create(self, manifest: Manifest, local: Mapping[str, str]) -> None:
        """Write the manifest of a new study.

        Raises:
            OptionError: There is a study here already.
        """
        if self.exists():
            raise OptionError(
                f"{self.root}: there is a study here already; resume it or choose another --out"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / "local.json", dict(local))
        write_json(self.root / "manifest.json", asdict(manifest))

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            JournalError: There is none, or it is damaged or of another schema.
        """
        path = self.root / "manifest.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise JournalError(f"{self.root}: not a study folder (no manifest.json)") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as err:
            raise JournalError(f"{path}: damaged ({err})") from err
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            got = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise JournalError(f"{path}: got schema {got!r}; this version reads {SCHEMA}")
        known = {f.name for f in fields(Manifest)}
        missing = sorted(known - set(data))
        if missing:
            raise JournalError(f"{path}: lacks {', '.join(missing)}")
        values = {name: value for name, value in data.items() if name in known}
        for name in ("oracle_seeds", "steps", "tags"):
            values[name] = tuple(values[name])
        return Manifest(**values)

    def local(self) -> dict[str, str]:
        """Return what only this machine knows; empty for a study from elsewhere."""
        path = self.root / "local.json"
        if not path.is_file():
            return {}
        try:
            return {str(k): str(v) for k, v in json.loads(path.read_text("utf-8")).items()}
        except (json.JSONDecodeError, AttributeError) as err:
            raise JournalError(f"{path}: damaged ({err}); delete it and give --data-dir") from err


def write_json(path: Path, data: object) -> None:
    """Write JSON so that the file is there whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def slug(text: str) -> str:
    """Return `text` as a single safe folder name: letters, digits, ``._+=-`` only."""
    safe = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-.")
    return safe[:80] or "unnamed"


def study_folders(root: Path) -> list[StudyFolder]:
    """Return the studies at or below `root`, ordered by path."""
    found = sorted(p.parent for p in root.rglob("manifest.json"))
    return [StudyFolder(p) for p in found]
