"""What a report holds: rows, boards of comparable rows, and the studies that are on none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jobs_bench.budget import Budget
from jobs_bench.report.studies import StudyRecord

Kind = Literal["strategy", "default recipe", "base model"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a leaderboard.

    Attributes:
        task: Task spec.
        model: Base model, ``None`` for tasks without one.
        strategy: Strategy spec, ``default recipe`` or ``base model``.
        kind: Which of the three.
        metric: Name of the metric behind the score.
        score: Mean oracle score, higher is better; ``None`` when there is no honest mean.
        ci_low: Lower end of its 95 % interval, ``None`` when unknown.
        ci_high: Upper end.
        ci_method: Where the interval comes from.
        metric_value: The same mean in the metric's own direction.
        seeds: Seeds that the score is a mean over: study seeds of a strategy, training seeds of the
            default recipe; 1 for the base model, which is not trained.
        spent: Mean spending of a study, in `currency`; 0 for the reference rows.
        currency: Of the budget.
        spent_by_category: The same by category.
        trials: Trials of all studies.
        failures: Failed segments of all studies.
        recommended: Configuration recommended by the study that believes most in its own, ``None``
            for the base model.
        recommended_per_seed: Every study's: ``seed, study, trial, config, believed, low, high,
            score, reason``.
        gain_over_default: Score less that of the default recipe.
        note: What a reader must know, usually empty.
    """

    task: str
    model: str | None
    strategy: str
    kind: Kind
    metric: str
    score: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    metric_value: float | None
    seeds: int
    spent: float
    currency: str
    spent_by_category: Mapping[str, float] = field(default_factory=dict)
    trials: int = 0
    failures: int = 0
    recommended: Mapping[str, Any] | None = None
    recommended_per_seed: Sequence[Mapping[str, Any]] = ()
    gain_over_default: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A study that is in no row, and why."""

    study: str
    reason: str
    task: str = ""
    model: str | None = None
    strategy: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """Everything comparable that is known of one (task, model).

    Attributes:
        rows: Best first, those without a score last.
        studies: Studies behind the rows, by strategy, in the order of their seeds.
    """

    task: str
    model: str | None
    metric: str
    higher_is_better: bool
    budget: Budget
    rows: tuple[Row, ...]
    studies: Mapping[str, tuple[StudyRecord, ...]]

    def row(self, kind: Kind) -> Row:
        """Return the row of the default recipe or of the base model."""
        return next(r for r in self.rows if r.kind == kind)

    @property
    def title(self) -> str:
        """Return task and model in a line."""
        return self.task if self.model is None else f"{self.task} with {self.model}"
