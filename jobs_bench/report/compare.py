"""Two methods against each other: paired by task and seed, on the frozen scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs_bench.errors import OptionError, UnknownNameError
from jobs_bench.report.board import Exclusion
from jobs_bench.report.standing_tables import points_text, range_text, verdict_text
from jobs_bench.report.standings import Leaderboard, Standing, normalised
from jobs_bench.stats.interaction import paired
from jobs_bench.stats.pairs import Pairing


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a paired comparison under one budget finds.

    Attributes:
        a: First method.
        b: Second method.
        budget: Full-run equivalents.
        workers: Segments that could run at the same time.
        overall: Over all tasks that both have.
        per_task: Task by task.
        unpaired: Runs that only one of the two has.
        left_out: Studies of the two that count nowhere.
    """

    a: str
    b: str
    budget: float
    workers: int
    overall: Pairing
    per_task: dict[str, Pairing]
    unpaired: int
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values; an interval that is unknown has nulls."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    def lines(self) -> list[str]:
        """Return the result in a few lines of text."""
        o = self.overall
        lines = [
            f"{self.a} against {self.b} at {self.budget:g}x"
            + (f" with {self.workers} workers, " if self.workers != 1 else ", ")
            + f"{o.pairs} pair{'s' if o.pairs != 1 else ''} on {o.tasks} "
            f"task{'s' if o.tasks != 1 else ''}",
            f"  difference   {points_text(o.difference.value, sign=True)} points, 95 % interval "
            f"{range_text(o.difference, sign=True)}; noise floor {points_text(o.noise)}",
            f"  P({self.a} better)  {points_text(o.improvement.value, digits=2)}, 95 % interval "
            f"{range_text(o.improvement, digits=2)}",
            f"  verdict      {verdict_text(o.verdict, self.a, self.b)}",
        ]
        if len(self.per_task) > 1:
            for task, found in self.per_task.items():
                lines.append(
                    f"  {task}: {points_text(found.difference.value, sign=True)} "
                    f"({range_text(found.difference, sign=True)}), "
                    f"{verdict_text(found.verdict, self.a, self.b)}"
                )
        if self.unpaired:
            lines.append(f"  {self.unpaired} runs have no partner and are not in this")
        if self.left_out:
            lines.append(
                f"  {self.left_out} studies of the two count nowhere (leaderboard says why)"
            )
        return lines


def compare(
    boards: Sequence[Leaderboard], excluded: Sequence[Exclusion], a: str, b: str
) -> list[Comparison]:
    """Return a comparison for every budget under which both methods ran.

    Raises:
        UnknownNameError: There is no such method.
        OptionError: The two are one, or have no task and seed in common.
    """
    known = sorted({s.method for board in boards for s in board.standings})
    for name in (a, b):
        if name not in known:
            raise UnknownNameError("method in these studies", name, known)
    if a == b:
        raise OptionError(f"got {a!r} twice; wanted two methods of: {', '.join(known)}")
    left_out = sum(e.strategy in (a, b) for e in excluded)
    found = []
    for board in boards:
        rows = {s.method: s for s in board.standings}
        if a in rows and b in rows:
            one = _on(board, rows[a], rows[b], left_out)
            if one is not None:
                found.append(one)
    if not found:
        raise OptionError(f"{a} and {b} have no task, seed and budget in common")
    return found


def _on(board: Leaderboard, a: Standing, b: Standing, left_out: int) -> Comparison | None:
    ties = {t: s.tie for t, s in board.references.items()}
    scores = [_scores(board, s) for s in (a, b)]
    overall = paired(scores[0], scores[1], ties)
    if overall is None:
        return None
    per_task = {}
    for task in board.references:
        mine, theirs = ({k: v for k, v in s.items() if k[0] == task} for s in scores)
        one = paired(mine, theirs, ties)
        if one is not None:
            per_task[task] = one
    unpaired = len(scores[0].keys() ^ scores[1].keys())
    return Comparison(
        a.method,
        b.method,
        board.budget,
        board.workers,
        overall,
        per_task,
        unpaired,
        left_out,
    )


def _scores(board: Leaderboard, standing: Standing) -> dict[tuple[str, int], float]:
    values = normalised([r.oracle for r in standing.runs], standing.runs, board.references)
    return {r.key: float(v) for r, v in zip(standing.runs, values, strict=True)}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, float) and value - value != 0.0:
        return None
    return value
