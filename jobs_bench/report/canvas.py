"""Where figures are drawn: settings, colours, and the same bytes for the same numbers.

A figure of a page is drawn in placeholder colours that become CSS (``currentColor``,
``var(--s0)``, ...), so it follows the page into the dark; a figure of a paper in fixed colours.
Names are drawn as they are, never as mathematics.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

N_COLOURS = 8
WIDTH_IN = 5.4  # at this width text is readable on a phone without scaling
SETTINGS: Any = {  # the names of settings are literals in matplotlib's types
    "svg.hashsalt": "jobs-bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
}
_SILENT = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of a figure: of text and lines, of grids, of the page, and of the series in turn."""

    ink: str
    faint: str
    page: str
    series: tuple[str, ...]

    def tint(self, index: int) -> str:
        """Return the colour of series number `index`; after the last the first comes again."""
        return self.series[index % len(self.series)]


PAGE = Palette("#010203", "#040506", "#070809", tuple(f"#0a0b{i:02x}" for i in range(N_COLOURS)))
"""Placeholders that `to_svg` turns into the colours of the page."""

PRINT = Palette(
    "#1c1e21",
    "#d9dce1",
    "#ffffff",
    (
        "#1f6fb5", "#c2570c", "#23803f", "#a0349a", "#9a6b00", "#0d7f86", "#b3263e", "#6250c4",
    ),
)  # fmt: skip
"""The same as in the style sheet of the page, by day."""


def colour(index: int) -> str:
    """Return the CSS colour of series number `index`."""
    return f"var(--s{index % N_COLOURS})"


def dotted(index: int) -> bool:
    """Return whether that series is drawn dotted and hollow, for colours come round again."""
    return index // N_COLOURS % 2 == 1


def settings(palette: Palette) -> Any:
    """Return a context in which figures are drawn in the colours of `palette`."""
    tinted = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    chosen: Any = {**SETTINGS, **dict.fromkeys(tinted, palette.ink)}
    return mpl.rc_context(chosen)


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure without background; call it within `settings`."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    return figure


def new_axes(height_in: float) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes, without background; call it within `settings`."""
    figure = new_figure(height_in)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def clip(text: str, width: int = 28) -> str:
    """Return `text` short enough to draw, its dollar signs kept from meaning mathematics."""
    text = plain(text)
    text = text if len(text) <= width else f"{text[: width - 1]}…"
    return text.replace("$", r"\$")


def plain(text: str) -> str:
    """Return `text` without control characters, which XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def to_svg(figure: Figure, prefix: str, label: str) -> str:
    """Return a figure drawn in `PAGE` as an ``<svg>`` element that needs nothing from outside.

    An artist whose gid is ``series-<n>...`` becomes an element with ``data-series="<n>"``.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context(SETTINGS):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata=_SILENT)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" {_named(label)}>', text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r' id="series-(\d+)', r' data-series="\1" id="series-\1', text)
    text = re.sub(r' id="', f' id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = text.replace(PAGE.ink, "currentColor").replace(PAGE.faint, "var(--line)")
    text = text.replace(PAGE.page, "var(--page)")
    for i, series in enumerate(PAGE.series):
        text = text.replace(series, colour(i))
    return text


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF or SVG, by the suffix of `path`: the same bytes for the same numbers.

    No date, no version and no path goes into the file.
    """
    metadata: Any = _SILENT
    if path.suffix == ".pdf":
        metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    temporary = path.with_name(f".{path.name}")
    with warnings.catch_warnings(), mpl.rc_context(SETTINGS):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    temporary.replace(path)


def _named(label: str) -> str:
    safe = plain(label)
    for raw, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        safe = safe.replace(raw, escaped)
    return f'role="img" aria-label="{safe}"'.replace("\\", "\\\\")
