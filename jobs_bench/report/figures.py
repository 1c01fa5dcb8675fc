"""Figures of a report as inline SVG: the same bytes for the same numbers, colours from the page.

Colours are written as CSS (``currentColor``, ``var(--s0)``, ...), so a figure follows the page into
the dark. Names are drawn as they are, never as mathematics.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobs_bench.report.board import Board, Row
from jobs_bench.report.studies import StudyRecord

N_COLOURS = 8
WIDTH_IN = 5.4  # at this width text is readable on a phone without scaling
_INK = "#010203"
_FAINT = "#040506"
_SERIES = tuple(f"#0a0b{i:02x}" for i in range(N_COLOURS))
_SETTINGS: Any = {  # the names of settings are literals in matplotlib's types
    "svg.hashsalt": "jobs-bench",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
}

Floats = NDArray[np.float64]


def colour(index: int) -> str:
    """Return the CSS colour of the strategy number `index` of a board."""
    return f"var(--s{index % N_COLOURS})"


def dotted(index: int) -> bool:
    """Return whether that strategy is drawn dotted and hollow, for colours come round again."""
    return index // N_COLOURS % 2 == 1


def whiskers(board: Board, prefix: str) -> str:
    """Return a dot with its 95 % interval for each row, best at the top; empty without scores."""
    rows = [r for r in board.rows if r.score is not None]
    if not rows:
        return ""
    series = {name: i for i, name in enumerate(board.studies)}
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes(0.75 + 0.3 * len(rows))
        for y, row in enumerate(reversed(rows)):
            tint = _SERIES[series[row.strategy] % N_COLOURS] if row.kind == "strategy" else _INK
            _whisker(axes, row, y, tint)
        axes.set_yticks(range(len(rows)))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), labels=[_clip(r.strategy) for r in reversed(rows)])
        axes.set_xlabel(_clip(f"score on hidden items ({board.metric})", 60))
        axes.grid(axis="x", color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        return _svg(figure, prefix, f"Scores with 95 % intervals on {board.title}")


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
    with mpl.rc_context(_SETTINGS):
        figure, axes = _axes(3.1)
        for i, (name, studies) in enumerate(board.studies.items()):
            tint = _SERIES[i % N_COLOURS]
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
            axes.axhline(default, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlim(left=0)
        axes.set_xlabel(f"spent ({board.budget.currency})")
        axes.set_ylabel(_clip(f"score ({board.metric})"))
        axes.grid(color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        return _svg(figure, prefix, f"Believed score over spent budget on {board.title}")


def _axes(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _clip(text: str, width: int = 28) -> str:
    """Return `text` short enough to draw, its dollar signs kept from meaning mathematics."""
    text = _plain(text)
    text = text if len(text) <= width else f"{text[: width - 1]}…"
    return text.replace("$", r"\$")


def _plain(text: str) -> str:
    """Return `text` without control characters, which XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _svg(figure: Figure, prefix: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element that needs nothing from outside."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=empty)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" {_named(label)}>', text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r' id="', f' id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace(_INK, "currentColor").replace(_FAINT, "var(--line)")
    for i, series in enumerate(_SERIES):
        text = text.replace(series, colour(i))
    return text


def _named(label: str) -> str:
    safe = _plain(label)
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        safe = safe.replace(plain, escaped)
    return f'role="img" aria-label="{safe}"'.replace("\\", "\\\\")
