"""Figures of a report on studies as inline SVG: the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jobs_bench.report.board import Board, Row
from jobs_bench.report.canvas import PAGE, clip, dotted, new_axes, settings, to_svg
from jobs_bench.report.studies import StudyRecord

Floats = NDArray[np.float64]


def whiskers(board: Board, prefix: str) -> str:
    """Return a dot with its 95 % interval for each row, best at the top; empty without scores."""
    rows = [r for r in board.rows if r.score is not None]
    if not rows:
        return ""
    series = {name: i for i, name in enumerate(board.studies)}
    with settings(PAGE):
        figure, axes = new_axes(0.75 + 0.3 * len(rows))
        for y, row in enumerate(reversed(rows)):
            tint = PAGE.tint(series[row.strategy]) if row.kind == "strategy" else PAGE.ink
            _whisker(axes, row, y, tint)
        axes.set_yticks(range(len(rows)))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), labels=[clip(r.strategy) for r in reversed(rows)])
        axes.set_xlabel(clip(f"score on hidden items ({board.metric})", 60))
        axes.grid(axis="x", color=PAGE.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        return to_svg(figure, prefix, f"Scores with 95 % intervals on {board.title}")


def _whisker(axes: Axes, row: Row, y: int, tint: str) -> None:
    assert row.score is not None
    if row.ci_low is not None and row.ci_high is not None:
        axes.plot([row.ci_low, row.ci_high], [y, y], color=tint, linewidth=1.8)
    face = tint if row.kind == "strategy" else "none"
    axes.plot([row.score], [y], "o", color=tint, markerfacecolor=face, markersize=6)


def beliefs(study: StudyRecord) -> tuple[Floats, Floats]:
    """Return what a study had spent and what it then believed, where it believed anything."""
    known = [
        (spent, r.score)
        for spent, r in study.recommendations
        if r.score is not None and np.isfinite(r.score)
    ]
    return np.array([s for s, _ in known]), np.array([b for _, b in known], dtype=np.float64)


def averaged(curves: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return (spent, mean, lowest, highest) of step functions, from where all of them are known."""
    curves = [c for c in curves if len(c[0])]
    if not curves:
        empty = np.array([])
        return empty, empty, empty, empty
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[grid >= max(x[0] for x, _ in curves)]
    at = np.stack([y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves])
    return grid, at.mean(axis=0), at.min(axis=0), at.max(axis=0)


def trajectories(board: Board, prefix: str) -> str:
    """Return believed scores over what was spent, with oracle scores as markers; empty without."""
    limit = board.budget.limit
    drawn = False
    with settings(PAGE):
        figure, axes = new_axes(3.1)
        for i, (name, studies) in enumerate(board.studies.items()):
            tint = PAGE.tint(i)
            x, mean, low, high = averaged([beliefs(s) for s in studies])
            if len(x):
                drawn = True
                x = np.append(x, max(limit, float(x[-1])))
                mean, low, high = (np.append(v, v[-1]) for v in (mean, low, high))
                style = ":" if dotted(i) else "-"
                axes.plot(x, mean, style, drawstyle="steps-post", color=tint, linewidth=1.6)
                if len(studies) > 1:
                    axes.fill_between(x, low, high, step="post", color=tint, alpha=0.16, lw=0)
            row = next(r for r in board.rows if r.kind == "strategy" and r.strategy == name)
            if row.score is not None:
                drawn = True
                at = limit * (1.03 + 0.025 * i)
                if row.ci_low is not None and row.ci_high is not None:
                    axes.plot([at, at], [row.ci_low, row.ci_high], color=tint, linewidth=1.4)
                face = "none" if dotted(i) else tint
                axes.plot([at], [row.score], "D", color=tint, markerfacecolor=face, markersize=5)
        if not drawn:
            return ""
        default = board.row("default recipe").score
        if default is not None:
            axes.axhline(default, color=PAGE.ink, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlim(left=0)
        axes.set_xlabel(f"spent ({board.budget.currency})")
        axes.set_ylabel(clip(f"score ({board.metric})"))
        axes.grid(color=PAGE.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        return to_svg(figure, prefix, f"Believed score over spent budget on {board.title}")
