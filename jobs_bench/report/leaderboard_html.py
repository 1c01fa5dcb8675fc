"""The leaderboard as one HTML file that needs no network: figures, data and script are inside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from jobs_bench.report import charts, mixtures, standing_tables, standing_words, tables
from jobs_bench.report.board import Exclusion
from jobs_bench.report.canvas import N_COLOURS, PAGE, colour, dotted, to_svg
from jobs_bench.report.html import environment, own
from jobs_bench.report.runs import Run
from jobs_bench.report.standing_tables import points_text
from jobs_bench.report.standings import Leaderboard, normalised
from jobs_bench.report.tables import MISSING, amount_text, figure_text
from jobs_bench.stats import steps

MAX_NAMED = 200
"""Studies left out that the page names; the table of counts and studies.csv have all."""

TRACE_POINTS = 32
"""Points of a study's trace on its page at most."""


def render(boards: Sequence[Leaderboard], excluded: Sequence[Exclusion]) -> str:
    """Return the page. Every name in it is escaped; only our own figures and files are not."""
    page = environment()
    template = page.get_template("leaderboard.html.j2")
    return template.render(
        views=[_view(board, i) for i, board in enumerate(boards)],
        overview=standing_words.overview(boards, excluded),
        excluded=tables.excluded(excluded[:MAX_NAMED]),
        excluded_counts=standing_tables.excluded_counts(excluded),
        n_excluded=len(excluded),
        notes={
            "scores": standing_words.SCORES,
            "traces": standing_words.TRACES,
            "profiles": standing_words.PROFILES,
            "interaction": standing_words.INTERACTION,
            "costs": standing_words.COSTS,
            "excluded": standing_words.EXCLUDED,
            "reading": standing_words.READING,
        },
        css=own(page, "report.css") + own(page, "leaderboard.css"),
        script=own(page, "sort.js") + own(page, "leaderboard.js"),
    )


def _view(board: Leaderboard, index: int) -> dict[str, Any]:
    series = {method: i for i, method in enumerate(board.methods)}
    nemenyi = board.significance.test == "friedman-nemenyi"
    pictures = {
        "scores": (charts.scores(board, PAGE), "Normalised scores with 95 % intervals"),
        "traces": (charts.traces(board, PAGE), "Recommended score over the budget"),
        "ranks": (charts.ranks(board, PAGE), "Mean ranks"),
        "profiles": (charts.profiles(board, PAGE), "Share of runs by score"),
        "interaction": (charts.interaction(board, PAGE), "Interaction gains"),
        "costs": (charts.costs(board, PAGE), "Spending by category"),
    }
    return {
        "board": board,
        "headline": standing_words.headline(board),
        "leaderboard": standing_tables.leaderboard(board),
        "unable": standing_tables.unable(board),
        "key": [
            (s.method, series[s.method], colour(series[s.method]), dotted(series[s.method]))
            for s in board.standings
        ],
        "ranks_note": standing_words.RANKS if nemenyi else standing_words.RANK_INTERVALS,
        "gains": standing_tables.gains(board),
        "per_task": standing_tables.per_task(board),
        "times": standing_tables.times(board),
        "cost": standing_tables.cost(board),
        "beliefs": standing_tables.beliefs(board),
        "rungs": [standing_tables.rungs(t, *found) for t, found in board.rungs.items()],
        "mixtures": _mixtures(board, index),
        "max_mixtures": mixtures.MAX_METHODS,
        "references": standing_tables.references(board.references),
        "reproduction": standing_tables.reproduction(board),
        "benches": standing_tables.benches(board),
        "methods": [
            (s.method, series[s.method], colour(series[s.method]), len(s.runs))
            for s in board.standings
        ],
        "data": _script_json(_data(board, index, series)),
        **{
            name: _svg(figure, f"{name[0]}{index}{name[1]}", f"{label}: {board.title}")
            for name, (figure, label) in pictures.items()
        },
    }


def _svg(figure: Figure | None, prefix: str, label: str) -> Markup:
    return Markup("" if figure is None else to_svg(figure, prefix, label))


def _mixtures(board: Leaderboard, index: int) -> list[dict[str, Any]]:
    found = []
    for k, task in enumerate(board.references):
        courses, domains = mixtures.courses(board, task)
        figure = charts.mixtures(courses, domains, PAGE)
        if figure is not None:
            found.append(
                {
                    "task": task,
                    "key": [(d, colour(i), i >= N_COLOURS) for i, d in enumerate(domains)],
                    "svg": _svg(figure, f"m{index}-{k}", f"Recommended mixtures on {task}"),
                    "moving": any(len(c.grid) > 1 for c in courses),
                }
            )
    return found


def _script_json(data: object) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for raw in "<>&":
        text = text.replace(raw, f"\\u{ord(raw):04x}")
    return Markup(text)


def _data(board: Leaderboard, index: int, series: dict[str, int]) -> dict[str, Any]:
    tasks = list(board.references)
    commands: dict[str, int] = {}
    studies = []
    for standing in board.standings:
        for run in standing.runs:
            number = commands.setdefault(run.command, len(commands))
            studies.append(
                {
                    "method": series[standing.method],
                    "task": tasks.index(run.task),
                    "seed": run.seed,
                    "points": points_text(
                        float(normalised([run.oracle], [run], board.references)[0])
                    ),
                    "command": number,
                    "mixture": [
                        [name, round(share, 4)]
                        for name, share in mixtures.mixture(run.recommended).items()
                    ],
                    "trace": _thinned(run, board),
                    "facts": _facts(run),
                }
            )
    return {
        "board": index,
        "budget": board.budget,
        "order": [series[s.method] for s in board.standings],
        "tasks": tasks,
        "commands": list(commands),
        "studies": studies,
    }


def _thinned(run: Run, board: Leaderboard) -> list[list[float]]:
    """Return the changes of a trace, `TRACE_POINTS` at most, on the normalised scale."""
    x, y = run.trace.spent, board.references[run.task].normalise(run.trace.score)
    known = np.isfinite(y) & (x <= board.budget)
    x, y = x[known], y[known]
    if len(x) > 1:
        changed = np.concatenate([[True], np.diff(y) != 0])
        x, y = x[changed], y[changed]
    if len(x) > TRACE_POINTS:
        grid = np.linspace(x[0], board.budget, TRACE_POINTS)
        x, y = grid, steps.at(x, y, grid)
    return [[round(float(a), 3), round(float(b), 2)] for a, b in zip(x, y, strict=True)]


def _spent(run: Run) -> str:
    total = sum(run.cost)
    return MISSING if math.isnan(total) else amount_text(total)


def _facts(run: Run) -> list[list[str]]:
    believed, low, high = run.believed
    belief = figure_text(believed)
    if math.isfinite(low) and math.isfinite(high):
        belief += f" ({figure_text(low)} to {figure_text(high)})"
    trials, full = run.trials
    error = (
        f" \N{PLUS-MINUS SIGN} {figure_text(run.oracle_se)}"
        if run.oracle_se == run.oracle_se
        else ""
    )
    facts = [
        ["oracle score", figure_text(run.oracle) + error],
        ["believed", belief],
        ["spent", f"{_spent(run)} of {run.budget:g} full-run equivalents"],
        ["configuration", standing_tables.shares_text(run) or MISSING],
        ["trials", MISSING if math.isnan(trials) else f"{trials:.0f}, {full:.0f} of them full"],
        ["strategy", run.strategy],
        ["study", run.study_id],
    ]
    if math.isfinite(run.overhead_s):
        facts.insert(5, ["overhead", f"{amount_text(run.overhead_s)} s"])
    return facts
