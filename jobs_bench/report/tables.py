"""The tables of a report, made once and rendered as Markdown and as HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs_bench.budget import Budget
from jobs_bench.report.board import Board, Exclusion, Row
from jobs_bench.report.studies import StudyRecord

MISSING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: As shown.
        order: What a column is sorted by; ``None``: last.
        code: It is a name and shown as it is, letter by letter.
        strong: It is what the row is about.
    """

    text: str
    order: float | str | None = None
    code: bool = False
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under named columns; `numeric` columns are set flush right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()


def figure_text(value: float | None, *, sign: bool = False) -> str:
    """Return a number as people read it: four decimals, or four digits when large or tiny."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    plus = "+" if sign else ""
    text = f"{value:{plus}.4f}" if size == 0 or 1e-3 <= size < 1e3 else f"{value:{plus}.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def amount_text(value: float) -> str:
    """Return an amount of budget with at most four digits."""
    return f"{value:.4g}" if value < 1e6 else f"{value:.3e}"


def interval_text(low: float | None, high: float | None) -> str:
    """Return ``low to high``, or a dash."""
    if low is None or high is None:
        return MISSING
    return f"{figure_text(low)} to {figure_text(high)}"


def _number(value: float | None, *, sign: bool = False) -> Cell:
    return Cell(figure_text(value, sign=sign), value)


def _name(row: Row) -> Cell:
    return Cell(row.strategy, row.strategy, code=row.kind == "strategy", strong=True)


def leaderboard(board: Board) -> Table:
    """Return the rows of a board with their intervals."""
    metric = board.metric if board.higher_is_better else f"{board.metric} (lower is better)"
    currency = board.budget.currency
    rows = []
    for row in board.rows:
        spent = MISSING if row.kind != "strategy" else f"{amount_text(row.spent)}{currency}"
        rows.append(
            (
                _name(row),
                _number(row.score),
                Cell(interval_text(row.ci_low, row.ci_high), row.ci_low),
                _number(row.gain_over_default, sign=True),
                _number(row.metric_value),
                Cell(str(row.seeds), row.seeds),
                Cell(spent, row.spent),
                Cell(str(row.failures), row.failures) if row.kind == "strategy" else Cell(MISSING),
                Cell(row.note or row.ci_method.removeprefix("t over "), row.ci_method),
            )
        )
    columns = (
        "strategy",
        "score",
        "95 % interval",
        "gain over default",
        metric,
        "seeds",
        "spent",
        "failures",
        "interval over",
    )
    caption = (
        f"Scores on hidden items, higher is better, with 95 % t intervals; a budget of "
        f"{board.budget} each"
    )
    return Table(caption, columns, tuple(rows), frozenset({1, 3, 4, 5, 6, 7}))


def configurations(board: Board) -> Table:
    """Return what each strategy recommends beside the mixture, and the default recipe."""
    rows = [r for r in board.rows if r.recommended is not None]
    axes = list(
        dict.fromkeys(
            name for r in rows for name, v in (r.recommended or {}).items() if not _mixed(v)
        )
    )
    body = tuple(
        (_name(row), *(_value((row.recommended or {}).get(axis)) for axis in axes)) for row in rows
    )
    caption = "Recommended configuration: of the study that believes most in its own"
    return Table(caption, ("strategy", *axes), body)


def _mixed(value: object) -> bool:
    return isinstance(value, Mapping)


def _value(value: object) -> Cell:
    if value is None:
        return Cell(MISSING)
    if isinstance(value, (int, float)):
        return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), float(value))
    if isinstance(value, (list, tuple)):
        text = ", ".join(str(v) for v in value)
        return Cell(text, text)
    return Cell(str(value), str(value))


@dataclass(frozen=True, slots=True)
class Bars:
    """A mixture as bars: (domain, weight), and the strategy that recommends it."""

    strategy: str
    kind: str
    axis: str
    weights: tuple[tuple[str, float], ...]


def mixtures(board: Board) -> list[Bars]:
    """Return the recommended mixtures, in the order of the board."""
    found = []
    for row in board.rows:
        for axis, value in (row.recommended or {}).items():
            if isinstance(value, Mapping):
                weights = tuple((str(d), float(w)) for d, w in value.items())
                found.append(Bars(row.strategy, row.kind, axis, weights))
    return found


def mixture_table(board: Board) -> Table:
    """Return the recommended mixtures as a table: one row a domain."""
    bars = mixtures(board)
    domains = dict.fromkeys((b.axis, d) for b in bars for d, _ in b.weights)
    several = len({b.axis for b in bars}) > 1
    names = list(dict.fromkeys(b.strategy for b in bars))
    rows = []
    for axis, domain in domains:
        shares = {b.strategy: dict(b.weights).get(domain) for b in bars if b.axis == axis}
        cells = [_share(shares.get(n)) for n in names]
        label = f"{axis}: {domain}" if several else domain
        rows.append((Cell(label, label, code=True), *cells))
    numeric = frozenset(range(1, len(names) + 1))
    return Table("Recommended mixtures", ("domain", *names), tuple(rows), numeric)


def _share(weight: float | None) -> Cell:
    return Cell(MISSING) if weight is None else Cell(f"{100 * weight:.1f} %", weight)


def per_seed(board: Board) -> Table:
    """Return what every study believed of its recommendation, and what the oracle found."""
    rows = []
    for row in board.rows:
        for r in row.recommended_per_seed:
            rows.append(
                (
                    Cell(row.strategy, row.strategy, code=True),
                    Cell(str(r["seed"]), r["seed"]),
                    _number(r["believed"]),
                    Cell(interval_text(r["low"], r["high"]), r["low"]),
                    _number(r["score"]),
                    Cell(MISSING if r["trial"] is None else str(r["trial"]), r["trial"]),
                    Cell(r["reason"], r["reason"]),
                )
            )
    columns = (
        "strategy", "seed", "believed score", "believed interval", "oracle score", "trial", "why",
    )  # fmt: skip
    caption = "What each study believed, and what held"
    return Table(caption, columns, tuple(rows), frozenset({1, 2, 4, 5}))


def spending(board: Board) -> Table:
    """Return what each strategy spent by category."""
    rows = [r for r in board.rows if r.kind == "strategy"]
    categories = list(dict.fromkeys(c for r in rows for c in r.spent_by_category))
    body = tuple(
        (
            _name(row),
            *(
                Cell(amount_text(v), v)
                for v in (row.spent_by_category.get(c, 0.0) for c in categories)
            ),
            Cell(amount_text(row.spent), row.spent),
            Cell(str(row.trials), row.trials),
        )
        for row in rows
    )
    columns = ("strategy", *categories, "total", "trials (all seeds)")
    caption = f"Spent by category, mean of a study, in {board.budget.currency}"
    return Table(caption, columns, body, frozenset(range(1, len(columns))))


def failures(studies: Iterable[StudyRecord]) -> Table:
    """Return every failed segment."""
    rows = []
    for study in studies:
        for outcome, cost in study.failed:
            segment = outcome.segment
            lines = outcome.error.strip().splitlines()
            rows.append(
                (
                    Cell(study.name, study.name, code=True),
                    Cell(str(segment.trial_id), segment.trial_id),
                    Cell(f"{segment.start} to {segment.until}", segment.start),
                    Cell(outcome.status, outcome.status),
                    Cell(amount_text(cost), cost),
                    Cell(lines[-1][:200] if lines else "", ""),
                )
            )
    columns = ("study", "trial", "steps", "status", "cost", "last line of the error")
    return Table(
        "Failed segments; they cost what they cost", columns, tuple(rows), frozenset({1, 4})
    )


def excluded(exclusions: Sequence[Exclusion]) -> Table:
    """Return the studies that are in no row, with the reasons."""
    rows = tuple(
        (
            Cell(e.study, e.study, code=True),
            Cell(e.task or MISSING, e.task),
            Cell(e.strategy or MISSING, e.strategy),
            Cell(MISSING if e.seed is None else str(e.seed), e.seed),
            Cell(e.reason, e.reason),
        )
        for e in exclusions
    )
    columns = ("study", "task", "strategy", "seed", "reason")
    return Table("Why each was left out", columns, rows, frozenset({3}))


def study_facts(study: StudyRecord) -> list[tuple[str, str]]:
    """Return what a reader needs to repeat a study, as (name, value)."""
    m = study.facts
    spent = f"{amount_text(study.spent)}{Budget.parse(m.budget).currency}"
    speed = f" at {m.flop_per_s:.4g} FLOP/s, measured" if m.flop_per_s else ""
    facts = [
        ("task", m.task),
        ("model", m.model or MISSING),
        ("strategy", m.strategy),
        ("seed", str(m.seed)),
        ("budget", m.budget),
        (
            "spent",
            f"{spent} in {study.trials} trials, {study.segments} segments",
        ),
        ("workers", str(m.workers)),
        ("oracle seeds", ", ".join(str(s) for s in m.oracle_seeds)),
        ("metric", f"{m.metric} ({'higher' if m.higher_is_better else 'lower'} is better)"),
        ("steps", ", ".join(str(s) for s in m.steps)),
        ("full run", f"{m.full_run_flop:.4g} FLOPs{speed}"),
        ("task signature", m.signature),
        ("tags", ", ".join(m.tags) or MISSING),
        ("hardware", _pairs(m.hardware)),
        ("native operators", _pairs(m.backend)),
        ("versions", _pairs(m.versions)),
        ("created", m.created or MISSING),
    ]
    if study.torn_bytes:
        facts.append(("torn", f"the last {study.torn_bytes} bytes of the journal were dropped"))
    return facts


def _pairs(values: Mapping[str, object]) -> str:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    return ", ".join(f"{k} {v}" for k, v in texts.items()) or MISSING
