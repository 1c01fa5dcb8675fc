"""The report as one HTML file that needs no network: styles, script and figures are inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs_bench.report import canvas, figures, tables, words
from jobs_bench.report.board import Board, Exclusion
from jobs_bench.report.studies import study_command
from jobs_bench.report.tables import Bars


@dataclass(frozen=True, slots=True)
class _Coloured:
    """A mixture with the colour of its strategy."""

    mixture: Bars
    colour: str


def render(boards: Sequence[Board], excluded: Sequence[Exclusion]) -> str:
    """Return the page. Every name in it is escaped; only our own figures and files are not."""
    page = environment()
    template = page.get_template("report.html.j2")
    return template.render(
        views=[_view(board, i) for i, board in enumerate(boards)],
        overview=words.overview(boards, len(excluded)),
        excluded=tables.excluded(excluded),
        notes={
            "whiskers": words.WHISKERS,
            "trajectories": words.TRAJECTORIES,
            "beliefs": words.BELIEFS,
            "excluded": words.EXCLUDED,
            "reading": words.READING,
        },
        css=own(page, "report.css"),
        script=own(page, "sort.js"),
    )


def environment() -> Environment:
    """Return the environment of all pages: everything is escaped, nothing may be undefined."""
    page = Environment(
        loader=PackageLoader("jobs_bench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters["breakable"] = breakable
    return page


def breakable(text: str) -> Markup:
    """Return `text`, escaped, with places where a long spec may go on in the next line."""
    return Markup("<wbr>").join(re.split(r"(?<=[?&(])", text))


def own(page: Environment, name: str) -> Markup:
    """Return one of our own files as it is."""
    assert page.loader is not None
    return Markup(page.loader.get_source(page, name)[0])


def _view(board: Board, index: int) -> dict[str, Any]:
    order = {name: i for i, name in enumerate(board.studies)}
    mixtures = tables.mixtures(board)
    studies = [s for found in board.studies.values() for s in found]
    return {
        "board": board,
        "headline": words.headline(board),
        "leaderboard": tables.leaderboard(board),
        "whiskers": Markup(figures.whiskers(board, f"w{index}")),
        "trajectories": Markup(figures.trajectories(board, f"t{index}")),
        "key": [(name, canvas.colour(i), canvas.dotted(i)) for name, i in order.items()],
        "bars": [_Coloured(bars, _colour(bars, order)) for bars in mixtures],
        "widest": max((w for bars in mixtures for _, w in bars.weights), default=1.0),
        "several_axes": len({bars.axis for bars in mixtures}) > 1,
        "configurations": tables.configurations(board),
        "per_seed": tables.per_seed(board),
        "spending": tables.spending(board),
        "failures": tables.failures(studies),
        "studies": [(s, study_command(s.facts), tables.study_facts(s)) for s in studies],
    }


def _colour(bars: Bars, order: dict[str, int]) -> str:
    return canvas.colour(order[bars.strategy]) if bars.kind == "strategy" else "var(--soft)"
