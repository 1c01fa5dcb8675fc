"""The sentences of a report, the same in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Sequence

from jobs_bench.report.board import Board, Row
from jobs_bench.report.tables import figure_text, interval_text

WHISKERS = (
    "Dots: mean score on hidden items. Lines: 95 % intervals, where known. Hollow dots: references."
)
TRAJECTORIES = (
    "Lines: what a strategy believed, after spending so much, that its recommendation would score "
    "at the full horizon on the items it can see (its own claim, not a measurement; the mean over "
    "study seeds, from where every seed has a belief; strategies that state none have no line). "
    "Bands: "
    "lowest to highest seed. Diamonds, right of the budget's end: what the final recommendation "
    "scored on hidden items, with its 95 % interval. Dashed: the default recipe on hidden items."
)
BELIEFS = (
    "Believed: the strategy's claim, on visible items. Oracle: full runs of its recommendation, "
    "scored on hidden items, never shown to it and never charged."
)
EXCLUDED = "These studies were found and counted in nothing above."
READING = (
    "Scores are higher-is-better throughout; a loss enters as its negative, and the metric stands "
    "beside it in its own direction.",
    "What is scored is the last recommendation of each study: it is trained in full, once for each "
    "oracle seed, and scored on hidden items. A study's score is the mean over its oracle seeds, a "
    "row's score the mean over its studies, one a seed.",
    "With two or more studies the interval is a t interval over their scores, given the hidden "
    "items. With one study it adds up the standard error of the hidden items and the variance over "
    "oracle seeds, and says nothing of how the search would go with another seed.",
    "Base model: not trained. Default recipe: the default configuration with the default mixture. "
    "Both are scored on the same hidden items.",
    "Studies stand on one board only if task, model, task signature, metric, budget, steps and "
    "default recipe are the same.",
)


def overview(boards: Sequence[Board], n_excluded: int) -> str:
    """Return what the report covers, in a sentence or two."""
    n = sum(len(s) for b in boards for s in b.studies.values())
    if not boards:
        return (
            f"No finished study yet: {_count(n_excluded, 'study', 'studies')} found, listed below "
            "with the reason. Resume what is unfinished, then make the report again."
        )
    text = f"{_count(n, 'finished study', 'finished studies')} on {_count(len(boards), 'task')}."
    if n_excluded:
        text += (
            f" {_count(n_excluded, 'study is', 'studies are')} in no row, with the reason below."
        )
    return text


def headline(board: Board) -> str:
    """Return the result of a board in a sentence, without claiming more than the intervals show."""
    best = next((r for r in board.rows if r.kind == "strategy" and r.score is not None), None)
    default = board.row("default recipe")
    if best is None or best.score is None:
        return "No strategy has a score here; the last column says why."
    text = f"Best strategy: {best.strategy}, {figure_text(best.score)}{_bracket(best)}"
    if best.gain_over_default is None:
        return f"{text}."
    gain = figure_text(best.gain_over_default, sign=True)
    return (
        f"{text}, {gain} against the default recipe{_bracket(default)}; {_overlap(best, default)}."
    )


def _bracket(row: Row) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f" ({interval_text(row.ci_low, row.ci_high)})"


def _overlap(a: Row, b: Row) -> str:
    if a.ci_low is None or a.ci_high is None or b.ci_low is None or b.ci_high is None:
        return "there is no interval to judge the difference by"
    apart = a.ci_low > b.ci_high or a.ci_high < b.ci_low
    return "their 95 % intervals do not overlap" if apart else "their 95 % intervals overlap"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
