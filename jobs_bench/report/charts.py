"""Figures of a leaderboard, each drawn from numbers that stand in a table as well.

Every function returns a figure for `canvas.to_svg` or `canvas.save`, or ``None`` where there is
nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobs_bench.report.canvas import Palette, clip, dotted, new_axes, new_figure, settings
from jobs_bench.report.mixtures import MixtureCourse
from jobs_bench.report.standings import THRESHOLDS, Leaderboard
from jobs_bench.stats.bootstrap import Estimate

Floats = NDArray[np.float64]

BAND_ALPHA = 0.13


def _series(board: Leaderboard) -> dict[str, int]:
    return {method: i for i, method in enumerate(board.methods)}


def _estimates(
    rows: Sequence[tuple[str, Estimate, int]], label: str, palette: Palette
) -> tuple[Figure, Axes]:
    """Draw a dot with its interval a row, the first at the top; rows are (name, value, series)."""
    figure, axes = new_axes(0.75 + 0.27 * len(rows))
    for y, (_, estimate, series) in enumerate(reversed(rows)):
        tint = palette.tint(series)
        if np.isfinite(estimate.low):
            axes.plot([estimate.low, estimate.high], [y, y], color=tint, linewidth=1.8)
        face = "none" if dotted(series) else tint
        axes.plot([estimate.value], [y], "o", color=tint, markerfacecolor=face, markersize=5.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows)), labels=[clip(name) for name, *_ in reversed(rows)])
    axes.set_xlabel(label)
    axes.grid(axis="x", color=palette.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def scores(board: Leaderboard, palette: Palette) -> Figure | None:
    """Return the normalised score of every method with its interval."""
    series = _series(board)
    with settings(palette):
        rows = [(s.method, s.score, series[s.method]) for s in board.standings]
        figure, axes = _estimates(rows, "normalised score", palette)
        axes.axvline(0, color=palette.ink, linewidth=0.9, linestyle=(0, (4, 3)))
        return figure


def traces(board: Leaderboard, palette: Palette, *, key: bool = False) -> Figure | None:
    """Return the normalised score of what is recommended over the budget, with bands."""
    series = _series(board)
    known = [s for s in board.standings if np.isfinite(s.trace.value).any()]
    if not known:
        return None
    with settings(palette):
        figure, axes = new_axes(3.6)
        for standing in reversed(known):  # the best on top
            i, band = series[standing.method], standing.trace
            tint, style = palette.tint(i), ":" if dotted(i) else "-"
            axes.fill_between(
                band.grid, band.low, band.high, step="post", color=tint, alpha=BAND_ALPHA,
                linewidth=0, gid=f"series-{i}-band",
            )  # fmt: skip
            axes.plot(
                band.grid, band.value, style, drawstyle="steps-post", color=tint, linewidth=1.6,
                gid=f"series-{i}-line", label=clip(standing.method),
            )  # fmt: skip
        axes.axhline(0, color=palette.ink, linewidth=0.9, linestyle=(0, (4, 3)))
        _frame_traces(axes, known[0].trace.value, [s.trace.value for s in known])
        axes.set_xlim(0, board.budget)
        axes.set_xlabel("spent (full-run equivalents)")
        axes.set_ylabel("normalised score")
        _finish(axes, palette, key=key)
        return figure


def _frame_traces(axes: Axes, best: Floats, values: Sequence[Floats]) -> None:
    """Keep early scores far below random search's last one from squeezing everything else."""
    low = min(float(np.nanmin(v)) for v in values)
    high = max(float(np.nanmax(v)) for v in values)
    last = float(best[np.isfinite(best)][-1])
    axes.set_ylim(bottom=max(low - 5, min(-100.0, last - 200)), top=max(high, 0.0) + 8)


def profiles(board: Leaderboard, palette: Palette, *, key: bool = False) -> Figure | None:
    """Return the share of runs at or above every score."""
    series = _series(board)
    with settings(palette):
        figure, axes = new_axes(3.2)
        for standing in reversed(board.standings):
            i, found = series[standing.method], standing.profile
            tint, style = palette.tint(i), ":" if dotted(i) else "-"
            axes.fill_between(
                found.thresholds, found.low, found.high, color=tint, alpha=BAND_ALPHA, linewidth=0,
                gid=f"series-{i}-band",
            )  # fmt: skip
            axes.plot(
                found.thresholds, found.share, style, color=tint, linewidth=1.6,
                gid=f"series-{i}-line", label=clip(standing.method),
            )  # fmt: skip
        axes.set_xlim(THRESHOLDS[0], THRESHOLDS[-1])
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("normalised score at least")
        axes.set_ylabel("share of runs")
        _finish(axes, palette, key=key)
        return figure


def _finish(axes: Axes, palette: Palette, *, key: bool) -> None:
    axes.grid(color=palette.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    if key:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=7, ncols=2)


def ranks(board: Leaderboard, palette: Palette) -> Figure | None:
    """Return mean ranks: a critical-difference diagram after Nemenyi's test, else intervals."""
    ranked = [(s.method, s.rank) for s in board.standings if s.rank is not None]
    if len(ranked) < 2:
        return None
    series = _series(board)
    ranked.sort(key=lambda r: (r[1].value, r[0]))
    with settings(palette):
        if board.significance.test == "friedman-nemenyi":
            return _critical_difference(board, ranked, series, palette)
        rows = [(method, rank, series[method]) for method, rank in ranked]
        figure, axes = _estimates(rows, "mean rank (1 is best)", palette)
        axes.set_xlim(0.8, len(ranked) + 0.2)
        return figure


def _critical_difference(
    board: Leaderboard,
    ranked: Sequence[tuple[str, Estimate]],
    series: Mapping[str, int],
    palette: Palette,
) -> Figure:
    """Draw Demsar's diagram: best ranks at the left, bars over methods that are not separated."""
    n = len(ranked)
    bars = cliques(board, [m for m, _ in ranked])
    below = 0.55 + 0.28 * len(bars)
    rows = (n + 1) // 2
    figure, axes = new_axes(1.0 + 0.26 * (rows + len(bars)))
    axes.set_xlim(1 - 0.47 * (n - 1) - 0.2, n + 0.47 * (n - 1) + 0.2)
    axes.set_ylim(-below - 0.9 * rows, 2.6)
    axes.axis("off")
    axes.plot([1, n], [0, 0], color=palette.ink, linewidth=1)
    for tick in range(1, n + 1):
        axes.plot([tick, tick], [0, 0.25], color=palette.ink, linewidth=1)
        if n <= 12 or tick in (1, n) or tick % 5 == 0:
            axes.text(tick, 0.45, str(tick), ha="center", va="bottom")
    distance = board.significance.critical_difference
    end = min(1 + distance, n)
    axes.plot([1, end], [1.75, 1.75], color=palette.ink, linewidth=1.6)
    for edge in (1, end):
        axes.plot([edge, edge], [1.6, 1.9], color=palette.ink, linewidth=1.2)
    note = f"critical difference {distance:.2f}" + ("" if 1 + distance <= n else " (wider)")
    axes.text((1 + end) / 2, 1.95, note, ha="center", va="bottom", fontsize=8)
    for k, (method, rank) in enumerate(ranked):
        left = k < rows
        y = -below - 0.9 * (k if left else n - 1 - k) - 0.35
        edge = 1 - 0.05 * (n - 1) if left else n + 0.05 * (n - 1)
        tint = palette.tint(series[method])
        axes.plot([rank.value, rank.value, edge], [0, y, y], color=tint, linewidth=1)
        text = (
            f"{clip(method, 22)}  {rank.value:.2f}"
            if left
            else (f"{rank.value:.2f}  {clip(method, 22)}")
        )
        gap = -0.02 * (n - 1) if left else 0.02 * (n - 1)
        axes.text(edge + gap, y, text, ha="right" if left else "left", va="center", fontsize=8)
    for k, (first, last) in enumerate(bars):
        y = -0.4 - 0.28 * k
        reach = 0.02 * (n - 1)
        ends = [ranked[first][1].value - reach, ranked[last][1].value + reach]
        axes.plot(ends, [y, y], color=palette.ink, linewidth=3, solid_capstyle="round")
    return figure


def cliques(board: Leaderboard, by_rank: Sequence[str]) -> list[tuple[int, int]]:
    """Return the largest runs of methods, by rank, within which no two were found to differ."""
    found: list[tuple[int, int]] = []
    for first in range(len(by_rank)):
        last = first
        while last + 1 < len(by_rank) and not any(
            board.significance.differ(by_rank[i], by_rank[last + 1]) for i in range(first, last + 1)
        ):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def interaction(board: Leaderboard, palette: Palette) -> Figure | None:
    """Return the gain of joint search over every wrapper of the same base."""
    if not board.gains:
        return None
    series = {base: i for i, base in enumerate(sorted({g.base for g in board.gains}))}
    with settings(palette):
        rows = [(g.variant, g.gain.difference, series[g.base]) for g in board.gains]
        figure, axes = _estimates(rows, "gain of joint search (points)", palette)
        axes.axvline(0, color=palette.ink, linewidth=0.9, linestyle=(0, (4, 3)))
        return figure


COST_CATEGORIES = (("training", "train"), ("evaluation", "eval"), ("proxies", "proxy"))


def costs(board: Leaderboard, palette: Palette) -> Figure | None:
    """Return what each method spent, by category, of those for which it is known."""
    standings = [s for s in reversed(board.standings) if s.cost.spent > 0]
    if not standings:
        return None
    with settings(palette):
        figure, axes = new_axes(1.0 + 0.25 * len(standings))
        start = np.zeros(len(standings))
        for i, (name, attribute) in enumerate(COST_CATEGORIES):
            width = np.array([getattr(s.cost, attribute) for s in standings])
            if width.any():
                axes.barh(
                    range(len(standings)), width, left=start, height=0.7, color=palette.tint(i),
                    label=name,
                )  # fmt: skip
            start = start + width
        axes.set_yticks(range(len(standings)), labels=[clip(s.method) for s in standings])
        axes.axvline(board.budget, color=palette.ink, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel("spent (full-run equivalents)")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
        return figure


def mixtures(
    courses: Sequence[MixtureCourse], domains: Sequence[str], palette: Palette
) -> Figure | None:
    """Return the mean recommended mixture of each method on one task, over the budget.

    Where only final mixtures are known each is a bar.
    """
    if not courses:
        return None
    moving = any(len(c.grid) > 1 for c in courses)
    with settings(palette):
        return _courses(courses, domains, palette) if moving else _bars(courses, domains, palette)


def _shade(palette: Palette, index: int) -> tuple[str, float]:
    return palette.tint(index), 1.0 if index < len(palette.series) else 0.45


def _bars(courses: Sequence[MixtureCourse], domains: Sequence[str], palette: Palette) -> Figure:
    rows = list(reversed(courses))
    figure, axes = new_axes(0.75 + 0.27 * len(rows))
    start = np.zeros(len(rows))
    for i, domain in enumerate(domains):
        width = np.array([c.weights.get(domain, np.zeros(1))[-1] for c in rows])
        tint, alpha = _shade(palette, i)
        axes.barh(
            range(len(rows)), width, left=start, height=0.74, color=tint, alpha=alpha,
            edgecolor=palette.page, linewidth=0.6,
        )  # fmt: skip
        start = start + width
    axes.set_yticks(range(len(rows)), labels=[clip(c.method) for c in rows])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the training data")
    return figure


def _courses(courses: Sequence[MixtureCourse], domains: Sequence[str], palette: Palette) -> Figure:
    columns = 2
    rows = -(-len(courses) // columns)
    figure = new_figure(0.5 + 1.45 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, axes in enumerate(grid.flat):
        axes.patch.set_alpha(0)
        if k >= len(courses):
            axes.axis("off")
            continue
        course = courses[k]
        start = np.zeros(len(course.grid))
        for i, domain in enumerate(domains):
            top = start + course.weights.get(domain, np.zeros(len(course.grid)))
            tint, alpha = _shade(palette, i)
            axes.fill_between(
                course.grid, start, top, step="post", color=tint, alpha=alpha, linewidth=0
            )
            start = top
        axes.set_title(clip(course.method), fontsize=8.5, loc="left")
        axes.set_ylim(0, 1)
        axes.set_xlim(float(course.grid[0]), float(course.grid[-1]))
        if k >= len(courses) - columns:
            axes.set_xlabel("spent (x)")
            axes.tick_params(labelbottom=True)
    return figure
