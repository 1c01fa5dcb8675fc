"""The leaderboard as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobs_bench.errors import OptionError
from jobs_bench.report import markdown, standing_tables, standing_words, tables
from jobs_bench.report.board import Exclusion
from jobs_bench.report.leaderboard_html import MAX_NAMED
from jobs_bench.report.runs import Run
from jobs_bench.report.standing_tables import points_text, range_text
from jobs_bench.report.standings import TARGETS, Leaderboard
from jobs_bench.stats.bootstrap import Estimate

BEGIN = "<!-- leaderboard: begin (written by jobs-bench leaderboard build) -->"
END = "<!-- leaderboard: end -->"


def to_markdown(boards: Sequence[Leaderboard], excluded: Sequence[Exclusion]) -> str:
    """Return the whole leaderboard as a Markdown document."""
    blocks = ["# jobs-bench leaderboard", markdown.text(standing_words.overview(boards, excluded))]
    for board in boards:
        blocks += [
            f"## {markdown.text(board.title)}",
            markdown.text(standing_words.headline(board)),
        ]
        blocks += [markdown.captioned(standing_tables.leaderboard(board))]
        if board.unable:
            blocks += [markdown.captioned(standing_tables.unable(board))]
        blocks += ["### Ranks", markdown.text(board.significance.statement)]
        if board.gains:
            blocks += ["### Together or apart"]
            blocks += [markdown.captioned(standing_tables.gains(board))]
        for title, shown in (
            ("Task by task", standing_tables.per_task(board)),
            ("Time to target", standing_tables.times(board)),
            ("What the budget went into", standing_tables.cost(board)),
            ("Belief and outcome", standing_tables.beliefs(board)),
            ("Frozen references", standing_tables.references(board.references)),
            ("Run it again", standing_tables.reproduction(board)),
        ):
            blocks += [f"### {title}", markdown.captioned(shown)]
        if board.benches:
            blocks += [markdown.captioned(standing_tables.benches(board))]
        for task, found in board.rungs.items():
            blocks += [markdown.captioned(standing_tables.rungs(task, *found))]
    if excluded:
        blocks += ["## Studies that count nowhere", standing_words.EXCLUDED]
        blocks += [markdown.captioned(standing_tables.excluded_counts(excluded))]
        blocks += [markdown.table(tables.excluded(excluded[:MAX_NAMED]))]
    blocks += ["## How to read this", *standing_words.READING]
    return "\n\n".join(blocks) + "\n"


def section(boards: Sequence[Leaderboard], excluded: Sequence[Exclusion]) -> str:
    """Return the short form for a README: the first table of each board."""
    blocks = []
    for board in boards:
        head = markdown.text(standing_words.headline(board))
        blocks += [f"**{markdown.text(board.title)}.** {head}"]
        blocks += [markdown.captioned(standing_tables.brief(board))]
        if board.unable:
            blocks += [markdown.text(standing_words.unable(board))]
    blocks += [markdown.text(standing_words.overview(boards, excluded))]
    return "\n\n".join(blocks)


def put_between_markers(path: Path, text: str) -> None:
    """Replace what stands between the two markers of a file by `text`.

    Raises:
        OptionError: The file lacks the markers, or has them in another order.
    """
    old = path.read_text(encoding="utf-8")
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(END) < old.index(BEGIN):
        raise OptionError(
            f"{path}: wanted these two lines, once each and in this order: {BEGIN} and {END}"
        )
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2]
    write(path, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)


def to_csv(boards: Sequence[Leaderboard]) -> str:
    """Return a row a method and board, every number to its last digit."""
    head = [
        "board", "budget", "method", "strategy", "score", "score_low", "score_high", "area",
        "area_low", "area_high", "mean_rank", "mean_rank_low", "mean_rank_high", "tasks", "missing",
        "studies", "left_out", "cost_train", "cost_eval", "cost_proxy", "overhead_s",
    ]  # fmt: skip
    for target in TARGETS:
        head += [f"reached_{target:g}", f"median_time_{target:g}", f"expected_time_{target:g}"]
    head += ["bias", "coverage"]
    rows = []
    for board in boards:
        for s in board.standings:
            row: list[object] = [board.title, board.budget, s.method, s.strategy]
            for estimate in (s.score, s.area, s.rank):
                row += _ends(estimate)
            row += [s.tasks, " ".join(s.missing), len(s.runs), s.left_out]
            row += [s.cost.train, s.cost.eval, s.cost.proxy, s.cost.overhead_s]
            for target in TARGETS:
                t = s.times[target]
                row += [t.reached / t.runs, t.median, t.expected]
            row += [s.calibration.bias, s.calibration.coverage]
            rows.append(row)
    return _csv(head, rows)


def studies_csv(boards: Sequence[Leaderboard], excluded: Sequence[Exclusion]) -> str:
    """Return a row a study, those that count nowhere last with the reason."""
    head = [
        "board", "method", "task", "seed", "study", "strategy", "score", "oracle", "oracle_se",
        "believed", "believed_low", "believed_high", "cost_train", "cost_eval", "cost_proxy",
        "left_out_because",
    ]  # fmt: skip
    rows: list[list[object]] = []
    for board in boards:
        for s in board.standings:
            for run in s.runs:
                rows.append([board.title, s.method, *_study(run, board)])
        for u in board.unable:
            for task in u.tasks:
                reason = f"not applicable: {u.reason}"
                rows.append([board.title, u.method, task, *[""] * 12, reason])
    for e in excluded:
        seed = "" if e.seed is None else e.seed
        rows.append(["", e.strategy, e.task, seed, e.study, *[""] * 10, e.reason])
    return _csv(head, rows)


def _study(run: Run, board: Leaderboard) -> list[object]:
    scale = board.references[run.task]
    score = 100.0 * (run.oracle - scale.random_median) / scale.span
    return [
        run.task, run.seed, run.study_id, run.strategy, score, run.oracle, run.oracle_se,
        *run.believed, *run.cost, "",
    ]  # fmt: skip


def _ends(estimate: Estimate | None) -> list[object]:
    return ["", "", ""] if estimate is None else [estimate.value, estimate.low, estimate.high]


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_plain(value) for value in row])
    return file.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return value


def to_latex(boards: Sequence[Leaderboard]) -> str:
    r"""Return a ``booktabs`` table a board; it wants ``\usepackage{booktabs}``."""
    blocks = ["% needs \\usepackage{booktabs}; made by jobs-bench leaderboard build"]
    for i, board in enumerate(boards):
        lines = [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{latex(_caption(board))}}}",
            f"  \\label{{tab:leaderboard-{i + 1}}}",
            r"  \begin{tabular}{lrlrlr}",
            r"    \toprule",
            r"    Method & Score & 95\,\% interval & Mean rank & Interval & Area \\",
            r"    \midrule",
        ]
        for s in board.standings:
            cells = [
                rf"\texttt{{{latex(s.method)}}}",
                latex(points_text(s.score.value)),
                latex(range_text(s.score)),
                latex(points_text(None if s.rank is None else s.rank.value, digits=2)),
                latex(range_text(s.rank)),
                latex(points_text(None if s.area is None else s.area.value)),
            ]
            lines.append(f"    {' & '.join(cells)} \\\\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _caption(board: Leaderboard) -> str:
    tasks = count(len(board.references), "task")
    return (
        f"Normalised scores on {tasks} after {board.budget:g} full-run equivalents with "
        f"{count(board.workers, 'worker')} (0: median of random search, 100: best known, both "
        "frozen): interquartile mean with a 95 % interval from a bootstrap over tasks and seeds. "
        f"{board.significance.statement}"
    )


def count(n: int, thing: str) -> str:
    """Return a number of things."""
    return f"{n:,} {thing}{'s' if n != 1 else ''}"


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def latex(text: str) -> str:
    """Return `text` with everything escaped that LaTeX would read as markup."""
    plain = re.sub(r"\s", " ", text)
    return "".join(_LATEX.get(c, c) for c in plain)
