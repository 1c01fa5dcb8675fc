"""One study from its first ask to its last oracle: the loop around the state machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs_bench.budget import Ledger
from jobs_bench.errors import JournalError, WorkerError
from jobs_bench.runner.executor import Executor, OracleRequest
from jobs_bench.runner.machine import Machine, newly_launched
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import Event, outcome_to_json
from jobs_bench.store.folder import Manifest, StudyFolder, slug, write_json
from jobs_bench.store.journal import JournalWriter, Reading, read
from jobs_bench.strategy.contract import HasArtifacts, Problem, Strategy
from jobs_bench.trial import Outcome

IN_VAIN = 10
"""Failures in a row, none of which cost anything, that stop a study (it can be resumed)."""

Watcher = Callable[[Event, Machine], None]


def _ignore(event: Event, machine: Machine) -> None:
    """Watch nothing."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Study:
    """Everything that one study is run with.

    Attributes:
        folder: Where it is recorded; its manifest is written.
        strategy: Fresh.
        problem: What the strategy is told.
        executor: Runs the segments.
        oracle_cache: Oracle outcomes shared by the studies of one task.
        default: The default recipe, complete (a row of every result).
        watch: Called after each event.
        stop: Asked between events; true ends the run cleanly and resumably.
    """

    folder: StudyFolder
    strategy: Strategy
    problem: Problem
    executor: Executor
    oracle_cache: OracleCache
    default: Configuration
    watch: Watcher = _ignore
    stop: Callable[[], bool] = _never
    sync: bool = True

    def run(self) -> bool:
        """Run the study, or what is left of it; return whether it is closed.

        Raises:
            JournalError: The journal is damaged or belongs to another study.
            BudgetError: The budget cannot pay for one segment.
            WorkerError: Segments fail one after the other without spending anything.
        """
        manifest = self.folder.manifest()
        ledger = Ledger(manifest.full_run_flop)
        machine = Machine(self.strategy, self.problem, ledger, manifest.seed)
        exists = self.folder.events.exists()
        reading = read(self.folder.events) if exists else Reading((), 0, 0)
        if self._replay(machine, manifest, reading):
            return True
        with JournalWriter(self.folder.events, reading, sync=self.sync) as journal:
            self._note("resumed" if exists else "opened", torn_bytes=reading.torn_bytes)
            if not reading.events:
                self._record(journal, machine, Event("started", manifest.facts()))
            self.executor.launch(machine.in_flight)
            if not self._search(journal, machine):
                self._note("stopped")
                return False
            if not self._oracles(journal, machine, manifest, reading.events):
                self._note("stopped")
                return False
            self._publish()
            self._record(journal, machine, Event("closed", {}))
            self._note("closed")
        self._tidy(machine)
        return True

    def _replay(self, machine: Machine, manifest: Manifest, reading: Reading) -> bool:
        """Apply recorded events; return whether the study was closed."""
        for i, event in enumerate(reading.events):
            if (event.type == "started") != (i == 0):
                raise JournalError(
                    f"{self.folder.events}:{i + 1}: got an event {event.type!r} here"
                )
            if i == 0 and event.payload != manifest.facts():
                differ = [k for k, v in manifest.facts().items() if event.payload.get(k) != v]
                raise JournalError(
                    f"{self.folder.events}: the journal is of another study than manifest.json "
                    f"(they differ in {', '.join(differ)})"
                )
            machine.apply(event)
        return bool(reading.events) and reading.events[-1].type == "closed"

    def _search(self, journal: JournalWriter, machine: Machine) -> bool:
        """Run until the search has ended; return false when it was stopped before.

        Raises:
            WorkerError: Segments fail one after the other without spending anything.
        """
        in_vain = 0
        while True:
            started = time.perf_counter()
            while (event := machine.poll()) is not None:
                overhead = time.perf_counter() - started
                before = machine.in_flight
                self._record(journal, machine, event)
                if event.type == "asked":
                    self._note("asked", ask=event.payload["ask"], wall_s=overhead)
                    for proposal in event.payload["proposals"]:
                        if proposal["kind"] == "retire":
                            self.executor.discard(int(proposal["trial"]))
                    self.executor.launch(newly_launched(before, machine.in_flight))
                started = time.perf_counter()
            awaited = machine.awaited
            if machine.over or awaited is None:
                return True
            if self.stop():
                return False
            outcome = self.executor.wait(awaited)
            self._record(journal, machine, machine.finish(outcome))
            self._note_outcome("finished", outcome)
            free = outcome.status != "ok" and not any(c.flop or c.tok for c in outcome.charges)
            in_vain = in_vain + 1 if free else 0
            if in_vain == IN_VAIN:  # no budget would ever end this
                raise WorkerError(
                    f"{in_vain} segments in a row failed before they cost anything, the last one "
                    f"{outcome.status}: {outcome.error}"
                )

    def _oracles(
        self,
        journal: JournalWriter,
        machine: Machine,
        manifest: Manifest,
        recorded: Sequence[Event],
    ) -> bool:
        """Score the recommendation, the default recipe and the base model on the hidden items."""
        done = sum(e.type == "oracle" for e in recorded)
        recommended = machine.recommendation
        assert recommended is not None  # the machine recommends before its first ask
        complete = self.problem.space.complete(recommended.config)
        wanted: list[tuple[str, OracleRequest]] = [("base_model", OracleRequest(None, 0))]
        for who, config, controller in (
            ("default", self.default, ""),
            ("recommended", complete, recommended.controller),
        ):
            wanted += [(who, OracleRequest(config, s, controller)) for s in manifest.oracle_seeds]
        todo = wanted[done:]
        if self.stop():
            return False
        missing = [r for _, r in todo if self.oracle_cache.get(r) is None]
        missing = list(dict.fromkeys(missing))
        for request, outcome in zip(missing, self.executor.oracle(missing), strict=True):
            self.oracle_cache.put(request, outcome)
            self._note_outcome("oracle", outcome)
        for who, request in todo:
            outcome = self.oracle_cache.require(request)
            payload = {
                "who": who,
                "config": None if request.config is None else request.config.to_json(),
                "seed": request.seed,
                "outcome": outcome_to_json(outcome, seconds=False),
            }
            if request.controller:
                payload["controller"] = request.controller
            self._record(journal, machine, Event("oracle", payload))
        return True

    def _record(self, journal: JournalWriter, machine: Machine, event: Event) -> None:
        journal.append([event])
        machine.apply(event)
        self.watch(event, machine)

    def _publish(self) -> None:
        if isinstance(self.strategy, HasArtifacts):
            for artifact in self.strategy.artifacts():
                self.folder.artifacts.mkdir(exist_ok=True)
                path = self.folder.artifacts / f"{slug(artifact.name)}.json"
                write_json(path, artifact.content)

    def _tidy(self, machine: Machine) -> None:
        """Keep the checkpoint of the recommended trial only."""
        keep = machine.recommendation.trial_id if machine.recommendation else None
        for record in machine.history:
            if record.trial_id != keep:
                self.executor.discard(record.trial_id)

    def _note_outcome(self, what: str, outcome: Outcome) -> None:
        seconds = {c.category: round(c.s, 3) for c in outcome.charges}
        segment = outcome.segment
        self._note(
            what,
            trial=segment.trial_id,
            start=segment.start,
            until=segment.until,
            status=outcome.status,
            seconds=seconds,
        )

    def _note(self, what: str, **facts: Any) -> None:
        """Append a wall-clock record; losing one loses nothing that a resume needs."""
        line = {"t": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what, **facts}
        with self.folder.timings.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_timings(path: Path) -> list[dict[str, Any]]:
    """Return the wall-clock records of a study; lines torn by a crash are skipped."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
