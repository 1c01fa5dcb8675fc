"""Where each study stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs_bench.budget import Budget
from jobs_bench.report.build import load_all
from jobs_bench.report.studies import State, StudyRecord


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """The state of one study.

    Attributes:
        study: Path below the root.
        state: ``finished``, ``unfinished`` (running, or stopped and resumable) or ``damaged``.
        detail: What is missing or damaged.
        task: Task spec, empty when the manifest cannot be read; so the next four.
        model: Base model.
        strategy: Strategy spec.
        seed: Study seed.
        budget: As in ``8x``.
        spent: In the budget's currency.
        share: Spent part of the budget.
        trials: Trials with an outcome.
        failures: Failed segments.
        believed: Score that the strategy expects of its recommendation, ``None`` before it knows.
        score: Mean oracle score of the recommendation, ``None`` before it is known.
        torn_bytes: Length of a torn last line of the journal, usually 0.
    """

    study: str
    state: State
    detail: str
    task: str = ""
    model: str | None = None
    strategy: str = ""
    seed: int | None = None
    budget: str = ""
    spent: float = 0.0
    share: float = 0.0
    trials: int = 0
    failures: int = 0
    believed: float | None = None
    score: float | None = None
    torn_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object."""
        return asdict(self)

    def to_row(self) -> dict[str, Any]:
        """Return what fits on a line of a terminal."""
        return {
            "study": self.study,
            "state": self.state,
            "spent": f"{self.spent:.4g} of {self.budget}" if self.budget else "",
            "trials": self.trials,
            "failures": self.failures,
            "believed": self.believed,
            "score": self.score,
            "detail": self.detail,
        }


def status(root: Path) -> list[StudyStatus]:
    """Return the state of every study at or below `root`, ordered by path.

    Raises:
        InputError: There is none.
    """
    return [_status(study) for study in load_all(root)]


def _status(study: StudyRecord) -> StudyStatus:
    m = study.manifest
    if m is None or study.state == "damaged":
        known = {} if m is None else {"task": m.task, "strategy": m.strategy, "model": m.model}
        more = {} if m is None else {"seed": m.seed, "budget": m.budget}
        return StudyStatus(study.name, study.state, study.detail, **known, **more)  # type: ignore[arg-type]
    best = study.best
    values = [r.value.mean for r in study.recommended if r.value is not None]
    complete = values and len(values) == len(study.recommended) and study.state == "finished"
    return StudyStatus(
        study=study.name,
        state=study.state,
        detail=study.detail,
        task=m.task,
        model=m.model,
        strategy=m.strategy,
        seed=m.seed,
        budget=m.budget,
        spent=study.spent,
        share=study.spent / Budget.parse(m.budget).limit,
        trials=study.trials,
        failures=len(study.failed),
        believed=None
        if best is None or best.score is None or best.score - best.score
        else best.score,
        score=sum(values) / len(values) if complete else None,
        torn_bytes=study.torn_bytes,
    )
