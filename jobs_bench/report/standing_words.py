"""The sentences of a leaderboard, the same in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Sequence

from jobs_bench.report.board import Exclusion
from jobs_bench.report.standing_tables import points_text, range_text
from jobs_bench.report.standings import Leaderboard, Standing

READING = (
    "Score: the interquartile mean, over tasks and seeds, of the oracle score of each study's "
    "final recommendation. 0 is the median of random search with the same budget, 100 the best "
    "known score, both frozen in versioned files: adding a method moves nobody's score.",
    "Intervals are 95 % percentile intervals of a bootstrap that draws tasks, then seeds. Area is "
    "the same mean over the whole budget instead of its end.",
    "Mean rank is the mean over tasks; methods within the noise floor of a task share a rank "
    "there. Ranks depend on who takes part, nothing else here does.",
    "A study that failed, has no oracle score, or is of another version, budget or task signature "
    "is in no number; it is counted and named at the end.",
    "Definitions with worked examples: docs/scoring.md.",
)
TRACES = (
    "Interquartile mean of the normalised oracle score of what is recommended at each point of the "
    "budget, a step function; bands are 95 % intervals. A line begins where the recommendation of "
    "every study of the method has been judged. Dashed: the frozen median of random search with "
    "the whole budget."
)
PROFILES = (
    "Share of runs whose normalised score is at least the value below, every task weighing the "
    "same; higher is better throughout. Bands are 95 % intervals."
)
RANKS = (
    "Methods by mean rank, the best at the left. A bar joins methods between which no difference "
    "was found."
)
RANK_INTERVALS = "Mean ranks with 95 % bootstrap intervals; no test of ranks was made."
SCORES = (
    "Dots: interquartile means. Lines: 95 % intervals. Dashed: the frozen median of random search."
)
INTERACTION = (
    "What joint search gains over the same strategy on one block after the other, in turns, or on "
    "one block alone, with 95 % intervals. Right of the line: searching together pays."
)
COSTS = "Mean of a study. Dashed: the budget."
EXCLUDED = "These studies were found and count in nothing above."


def headline(board: Leaderboard) -> str:
    """Return the result in a sentence or two, without claiming more than was tested."""
    ranked = [s for s in board.standings if not s.missing] or list(board.standings)
    best = ranked[0]
    text = f"First: {best.method}, {points_text(best.score.value)} points{_bracket(best)}"
    if len(ranked) < 2:
        return f"{text}. No other method to set it against."
    second = ranked[1]
    text += f"; then {second.method}, {points_text(second.score.value)}{_bracket(second)}. "
    if board.significance.test == "none":
        return text + "Whether they differ was not tested."
    if board.significance.differ(best.method, second.method):
        return text + "The test finds a difference between the two."
    return text + "The test finds no difference between the two."


def _bracket(standing: Standing) -> str:
    spread = range_text(standing.score)
    return f" ({spread})" if spread[0].isdigit() or spread[0] == "\N{MINUS SIGN}" else ""


def unable(board: Leaderboard) -> str:
    """Return which methods cannot be run on which tasks, in a sentence each."""
    total = len(board.references)
    return " ".join(
        f"Not applicable to {len(u.tasks)} of {max(total, len(u.tasks))} tasks: {u.method} "
        f"({u.reason})."
        for u in board.unable
    )


def overview(boards: Sequence[Leaderboard], excluded: Sequence[Exclusion]) -> str:
    """Return what the leaderboard covers."""
    if not boards:
        return (
            f"No study can be ranked: {_count(len(excluded), 'study was', 'studies were')} found, "
            "listed below with the reason."
        )
    n = sum(b.n_runs for b in boards)
    methods = len({s.method for b in boards for s in b.standings})
    tasks = len({t for b in boards for t in b.references})
    text = (
        f"{_count(n, 'study', 'studies')}: {_count(methods, 'method', 'methods')} on "
        f"{_count(tasks, 'task', 'tasks')}."
    )
    if excluded:
        text += (
            f" {_count(len(excluded), 'more study counts', 'more studies count')} nowhere, with "
            "the reason below."
        )
    return text


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
