"""Oracle outcomes on disk, shared by all studies of one task.

The base model and the default recipe are rows of every result; training them once for each study
would cost more than many a study.
"""

from __future__ import annotations

import json
from pathlib import Path

from jobs_bench.errors import JournalError
from jobs_bench.runner.executor import OracleRequest
from jobs_bench.runner.machine import derive_seed
from jobs_bench.store.codec import outcome_from_json, outcome_to_json
from jobs_bench.store.folder import write_json
from jobs_bench.trial import Outcome


class OracleCache:
    """Outcomes by request, one file each, in ``root/<hash of the signature>/``."""

    def __init__(self, root: Path, signature: str) -> None:
        self._folder = root / f"{derive_seed(signature):016x}"

    def _path(self, request: OracleRequest) -> Path:
        key = "base-model" if request.config is None else request.config.key()
        if request.controller:
            key = f"{key}-{derive_seed(request.controller):016x}"
        return self._folder / f"{key}-{request.seed}.json"

    def get(self, request: OracleRequest) -> Outcome | None:
        """Return the outcome, or ``None``."""
        path = self._path(request)
        if not path.is_file():
            return None
        try:
            return outcome_from_json(json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, KeyError, TypeError) as err:
            raise JournalError(f"{path}: damaged ({err!r}); delete it and run again") from err

    def require(self, request: OracleRequest) -> Outcome:
        """Return the outcome that was put before."""
        outcome = self.get(request)
        if outcome is None:
            raise JournalError(f"{self._path(request)}: gone while it was needed; run again")
        return outcome

    def put(self, request: OracleRequest, outcome: Outcome) -> None:
        """Keep an outcome."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._path(request), outcome_to_json(outcome, seconds=False))
