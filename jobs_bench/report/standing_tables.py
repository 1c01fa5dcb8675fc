"""The tables of a leaderboard: cells for Markdown and HTML alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from jobs_bench.report.board import Exclusion
from jobs_bench.report.runs import Run
from jobs_bench.report.standings import TARGETS, Leaderboard, Standing
from jobs_bench.report.tables import MISSING, Cell, Table, amount_text
from jobs_bench.stats.bootstrap import Estimate
from jobs_bench.stats.normalise import Reference
from jobs_bench.stats.pairs import Pairing
from jobs_bench.stats.rungs import RungCorrelation


def points_text(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    """Return normalised points as people read them."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    text = text.lstrip("-") if float(text) == 0 else text  # no minus nought
    return text.replace("-", "\N{MINUS SIGN}")


def range_text(estimate: Estimate | None, *, sign: bool = False, digits: int = 1) -> str:
    """Return ``low to high``, or a dash."""
    if estimate is None or not math.isfinite(estimate.low):
        return MISSING
    low, high = (points_text(v, sign=sign, digits=digits) for v in (estimate.low, estimate.high))
    return f"{low} to {high}"


def _points(value: float | None, *, sign: bool = False, digits: int = 1) -> Cell:
    finite = None if value is None or not math.isfinite(value) else value
    return Cell(points_text(finite, sign=sign, digits=digits), finite)


def _range(estimate: Estimate | None, *, sign: bool = False, digits: int = 1) -> Cell:
    low = None if estimate is None or not math.isfinite(estimate.low) else estimate.low
    return Cell(range_text(estimate, sign=sign, digits=digits), low)


def _name(method: str) -> Cell:
    return Cell(method, method, code=True, strong=True)


def _amount(value: float) -> Cell:
    return Cell(amount_text(value), value) if math.isfinite(value) else Cell(MISSING)


def note(standing: Standing) -> str:
    """Return what a reader must know of a row, usually nothing."""
    if not standing.missing:
        return ""
    total = standing.tasks + len(standing.missing)
    return f"incomplete: {standing.tasks} of {total} tasks, no rank"


def _studies(standing: Standing) -> Cell:
    n = len(standing.runs)
    found = n + standing.left_out
    return Cell(str(n) if found == n else f"{n} of {found}", n)


def leaderboard(board: Leaderboard) -> Table:
    """Return a row a method; the column of notes only where there is one."""
    rows: list[tuple[Cell, ...]] = []
    for place, s in enumerate(board.standings, start=1):
        rows.append(
            (
                _name(s.method),
                Cell(str(place), place),
                _points(s.score.value),
                _range(s.score),
                _points(None if s.rank is None else s.rank.value, digits=2),
                _range(s.rank, digits=1),
                _points(None if s.area is None else s.area.value),
                _reached(s, TARGETS[-1]),
                _amount(s.cost.spent),
                _studies(s),
                Cell(note(s) or "", note(s) or None),
            )
        )
    columns: tuple[str, ...] = (
        "method", "place", "score", "95 % interval", "mean rank", "rank interval", "area",
        f"reach {TARGETS[-1]:g}", "spent (x)", "studies", "note",
    )  # fmt: skip
    if not any(row[-1].text for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    some = any(s.left_out for s in board.standings)
    caption = (
        f"Normalised scores after {board.budget:g} full-run equivalents: 0 is the frozen median of "
        "random search, 100 the frozen best known score; interquartile means over tasks and seeds"
        + ("; studies: those that count of those found" if some else "")
    )
    return Table(caption, columns, tuple(rows), frozenset({1, 2, 4, 6, 7, 8, 9}))


def brief(board: Leaderboard) -> Table:
    """Return the leaderboard with the columns that fit a README or a terminal."""
    full = leaderboard(board)
    wanted = ("method", "score", "95 % interval", "mean rank", "area", "studies", "note")
    keep = [full.columns.index(name) for name in wanted if name in full.columns]
    return Table(
        full.caption,
        tuple(full.columns[i] for i in keep),
        tuple(tuple(row[i] for i in keep) for row in full.rows),
        frozenset(new for new, old in enumerate(keep) if old in full.numeric),
    )


def _reached(standing: Standing, target: float) -> Cell:
    share = standing.times[target].reached / standing.times[target].runs
    return Cell(f"{100 * share:.0f} %", share)


def per_task(board: Leaderboard) -> Table:
    """Return the mean normalised score of every method on every task."""
    tasks = list(board.references)
    rows = tuple(
        (_name(s.method), *(_points(s.per_task.get(t)) for t in tasks)) for s in board.standings
    )
    return Table(
        "Mean normalised score over seeds",
        ("method", *tasks),
        rows,
        frozenset(range(1, len(tasks) + 1)),
    )


def times(board: Leaderboard) -> Table:
    """Return how much it takes to reach each target."""
    rows = []
    for s in board.standings:
        cells = [_name(s.method)]
        for target in TARGETS:
            t = s.times[target]
            cells += [
                Cell(f"{t.reached} of {t.runs}", t.reached / t.runs),
                Cell(_time(t.median), _or_none(t.median)),
                Cell(_span(t.low, t.high), _or_none(t.low)),
                Cell(_time(t.expected), _or_none(t.expected)),
            ]
        rows.append(tuple(cells))
    columns = ["method"]
    for target in TARGETS:
        at = f"{target:g}"
        columns += [f"reached {at}", f"median to {at}", "95 % interval", f"expected to {at}"]
    caption = (
        "Full-run equivalents until the recommendation is worth a target; runs that never get "
        "there are censored at the budget"
    )
    numeric = frozenset({1, 2, 4, 5, 6, 8})
    return Table(caption, tuple(columns), tuple(rows), numeric)


def _time(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return "not reached" if math.isinf(value) else amount_text(value)


def _span(low: float, high: float) -> str:
    if math.isnan(low):
        return MISSING
    return f"{amount_text(low)} to {'beyond' if math.isinf(high) else amount_text(high)}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else min(value, 1e300)


def cost(board: Leaderboard) -> Table:
    """Return what the budget went into."""
    rows = tuple(
        (
            _name(s.method),
            _amount(s.cost.train),
            _amount(s.cost.eval),
            _amount(s.cost.proxy),
            _amount(s.cost.spent),
            _amount(s.cost.overhead_s),
        )
        for s in board.standings
    )
    columns = ("method", "training", "evaluation", "proxies", "total", "strategy overhead (s)")
    caption = (
        "Mean of a study in full-run equivalents; overhead is the strategy's own seconds on the "
        "machine that ran it, outside the budget"
    )
    return Table(caption, columns, rows, frozenset(range(1, 6)))


def gains(board: Leaderboard) -> Table:
    """Return the interaction gains."""
    rows = []
    for g in board.gains:
        rows.append(
            (
                Cell(g.base, g.base, code=True, strong=True),
                Cell(g.variant, g.variant, code=True),
                *_paired(g.gain),
                Cell(_verdict(g.gain, g.base, g.variant), g.gain.verdict),
            )
        )
    columns = (
        "joint", "against", "gain", "95 % interval", "P(joint better)", "interval of P", "pairs",
        "verdict",
    )  # fmt: skip
    caption = (
        "Interaction gain: joint search less the same strategy wrapped, paired by task and seed, "
        "in normalised points"
    )
    return Table(caption, columns, tuple(rows), frozenset({2, 4, 6}))


def _paired(found: Pairing) -> tuple[Cell, ...]:
    return (
        _points(found.difference.value, sign=True),
        _range(found.difference, sign=True),
        _points(found.improvement.value, digits=2),
        _range(found.improvement, digits=2),
        Cell(str(found.pairs), found.pairs),
    )


def _verdict(found: Pairing, a: str, b: str) -> str:
    return verdict_text(found.verdict, a, b)


def verdict_text(verdict: str, a: str, b: str) -> str:
    """Return a verdict of `stats.pairs` with the names of the two."""
    return {
        "A is better": f"{a} is better",
        "B is better": f"{b} is better",
        "tie": "a tie within the noise floor",
        "not separated": "not separated: more seeds or tasks would tell",
        "too few": "too few, not tested",
    }[verdict]


def beliefs(board: Leaderboard) -> Table:
    """Return how well methods know what they recommend."""
    rows = []
    for s in board.standings:
        c = s.calibration
        wilson = Estimate(100 * c.coverage, 100 * c.low, 100 * c.high)
        rows.append(
            (
                _name(s.method),
                Cell(str(c.believed), c.believed),
                _points(c.bias, sign=True),
                _points(c.error),
                _points(c.kendall, digits=2),
                Cell(str(c.intervals), c.intervals),
                _points(wilson.value, digits=0),
                _range(wilson, digits=0),
            )
        )
    columns = (
        "method", "beliefs", "bias", "error", "Kendall", "with interval", "coverage %",
        "95 % interval",
    )  # fmt: skip
    caption = (
        "Believed against oracle score of the final recommendation, in normalised points; coverage "
        "of stated 95 % intervals"
    )
    return Table(caption, columns, tuple(rows), frozenset({1, 2, 3, 4, 5, 6}))


def rungs(task: str, all_steps: Sequence[int], found: RungCorrelation) -> Table:
    """Return the rank correlations between steps on a task."""
    rows = tuple(
        (
            Cell(f"step {step}", step, strong=True),
            *(_points(float(found.spearman[i, j]), digits=2) for j in range(len(all_steps))),
            _points(float(found.kendall[i, -1]), digits=2),
            Cell(str(int(found.trials[i, -1])), int(found.trials[i, -1])),
        )
        for i, step in enumerate(all_steps)
    )
    columns = (
        "Spearman", *(str(s) for s in all_steps), f"Kendall with {all_steps[-1]}",
        f"trials with {all_steps[-1]}",
    )  # fmt: skip
    return Table(
        f"Rank correlation of scores between steps on {task}, all trials of all studies",
        columns,
        rows,
        frozenset(range(1, len(columns))),
    )


def references(scales: Mapping[str, Reference]) -> Table:
    """Return the frozen scales."""
    rows = tuple(
        (
            Cell(s.task, s.task, strong=True),
            Cell(f"{s.random_median:.6g}", s.random_median),
            Cell(f"{s.best_known:.6g}", s.best_known),
            Cell(f"{s.noise_floor:.4g}", s.noise_floor),
            _points(s.tie),
            Cell(str(s.version), s.version),
            Cell(s.signature, s.signature, code=True),
        )
        for s in scales.values()
    )
    columns = (
        "task", "random median (0)", "best known (100)", "noise floor", "in points", "version",
        "task signature",
    )  # fmt: skip
    caption = "Frozen references, in scores of the task"
    return Table(caption, columns, rows, frozenset(range(1, 6)))


def reproduction(board: Leaderboard) -> Table:
    """Return the exact command and the versions of each row."""
    rows = []
    for s in board.standings:
        commands = list(s.commands[:3])
        more = len(s.commands) - len(commands)
        text = " ; ".join(commands) + (f" ; and {more} more, one a study" if more > 0 else "")
        versions = ", ".join(f"{k} {v}" for k, v in sorted(s.versions.items()))
        rows.append(
            (
                _name(s.method),
                Cell(s.strategy, s.strategy, code=True),
                Cell(text or MISSING, text, code=bool(text)),
                Cell(versions or MISSING, versions),
            )
        )
    return Table(
        "What runs each row again, and with which versions it ran",
        ("method", "strategy", "command", "versions"),
        tuple(rows),
    )


def benches(board: Leaderboard) -> Table:
    """Return the benches that the studies are from, with the time they took."""
    rows = []
    for bench in board.benches:
        seconds = bench.facts.get("seconds")
        known = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        rows.append(
            (
                Cell(bench.source or ".", bench.source, code=True),
                Cell(bench.suite or MISSING, bench.suite, strong=True),
                Cell(bench.command or MISSING, bench.command, code=bool(bench.command)),
                Cell(f"{seconds:.0f}", float(seconds)) if known and seconds else Cell(MISSING),
            )
        )
    return Table(
        "Benches behind these studies, with the time they took",
        ("folder", "suite", "command", "seconds"),
        tuple(rows),
        frozenset({3}),
    )


def unable(board: Leaderboard) -> Table:
    """Return the methods that cannot be run on some task of the board, with the reason."""
    rows = tuple(
        (
            Cell(u.method, u.method, code=True, strong=True),
            Cell(", ".join(u.tasks), len(u.tasks)),
            Cell(str(u.studies), u.studies),
            Cell(f"not applicable: {u.reason}", u.reason),
        )
        for u in board.unable
    )
    caption = "Not applicable: these methods need what the tasks cannot give; they are in no number"
    return Table(caption, ("method", "tasks", "studies", "reason"), rows, frozenset({2}))


def excluded_counts(exclusions: Sequence[Exclusion]) -> Table:
    """Return how many studies were left out for which reason, by method."""
    counted = Counter((e.strategy or MISSING, _kind(e.reason)) for e in exclusions)
    rows = tuple(
        (
            Cell(method, method, code=method != MISSING, strong=True),
            Cell(str(n), n),
            Cell(reason, reason),
        )
        for (method, reason), n in sorted(counted.items())
    )
    caption = "Studies that count nowhere, by method and reason"
    return Table(caption, ("method", "studies", "reason"), rows, frozenset({1}))


def _kind(reason: str) -> str:
    """Return a reason without what names the single study."""
    return reason.rsplit(" is there already: ", 1)[0] + (
        " is there already" if " is there already: " in reason else ""
    )


def shares_text(run: Run) -> str:
    """Return the recommended configuration beside its mixture, in a line."""
    plain = {k: v for k, v in run.recommended.items() if not isinstance(v, Mapping)}
    return ", ".join(f"{k} {_value(v)}" for k, v in plain.items())


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "+".join(str(v) for v in value) or "none"
    return str(value)
