"""``jobs-bench explain``: what a strategy left beside its recommendation, as text and as a figure.

Any strategy's artifacts are shown. Of an artifact's content these fields are known, all optional:
``title`` and ``text``; ``table`` with ``columns`` and ``rows``; ``curves``, a list of ``label``,
``x``, ``y`` and ``line`` (false: points alone), with ``x_label`` and ``y_label``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs_bench.errors import DataError, OptionError
from jobs_bench.report.status import status
from jobs_bench.store.folder import StudyFolder, study_folders

Content = Mapping[str, Any]


def artifacts(folder: Path) -> dict[str, dict[str, Content]]:
    """Return the artifacts of the studies at or below a folder, by study and name.

    Raises:
        OptionError: There is no study, or none of them has artifacts.
        DataError: An artifact that is no JSON object.
    """
    studies = study_folders(folder)
    if not studies:
        raise OptionError(f"{folder}: no study here; wanted a folder that `run --out` made")
    found = {str(s.root): _of(s) for s in studies}
    if not any(found.values()):
        unclosed = [s.state for s in status(folder) if s.state != "finished"]
        why = (
            f"{len(unclosed)} of {len(studies)} studies are not closed ({unclosed[0]}), and "
            "artifacts are written when a study closes"
            if unclosed
            else "their strategies leave nothing to explain"
        )
        raise OptionError(f"{folder}: no artifacts here: {why}")
    return {root: named for root, named in found.items() if named}


def _of(study: StudyFolder) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for path in sorted(study.artifacts.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise DataError(f"is no artifact: {err}", path) from err
        if not isinstance(content, dict):
            raise DataError(f"got {type(content).__name__}; wanted a JSON object", path)
        found[path.stem] = content
    return found


def show(console: Console, name: str, content: Content) -> None:
    """Print one artifact; curves as their ends."""
    console.print(str(content.get("title", name)), style="bold", markup=False, highlight=False)
    if content.get("text"):
        console.print(str(content["text"]), markup=False, highlight=False)
    table = content.get("table")
    if isinstance(table, dict):
        drawn = Table(*(str(c) for c in table.get("columns", ())))
        for row in table.get("rows", ()):
            drawn.add_row(*(_cell(cell) for cell in row))
        console.print(drawn)
    for curve in content.get("curves", ()):
        pairs = _points(curve)
        if pairs:
            (x0, y0), (x1, y1) = pairs[0], pairs[-1]
            told = f"{curve.get('label', '')}: {y0:.4g} at {x0:.4g} to {y1:.4g} at {x1:.4g}"
            console.print(f"  {told}", markup=False, highlight=False)
    console.print()


def _cell(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def draw(named: Mapping[str, Content], path: Path) -> int:
    """Write the artifacts with curves as one figure; return how many there were.

    The suffix of `path` decides the format: ``.svg``, ``.png`` or ``.pdf``.
    """
    with_curves = [c for c in named.values() if any(_points(x) for x in c.get("curves", ()))]
    if not with_curves:
        return 0
    from matplotlib.figure import Figure  # only now: slow to import

    figure = Figure(figsize=(7.0, 3.2 * len(with_curves)), layout="constrained")
    for i, content in enumerate(with_curves, start=1):
        axes = figure.add_subplot(len(with_curves), 1, i)
        for curve in content["curves"]:
            pairs = _points(curve)
            style = "-" if curve.get("line", True) else ""
            marker = "" if style and len(pairs) > 40 else "o"
            axes.plot(
                [x for x, _ in pairs], [y for _, y in pairs],
                linestyle=style, marker=marker, markersize=3, label=str(curve.get("label", "")),
            )  # fmt: skip
        axes.set_title(str(content.get("title", "")), loc="left", fontsize=10)
        axes.set_xlabel(str(content.get("x_label", "")))
        axes.set_ylabel(str(content.get("y_label", "")))
        if len(content["curves"]) > 1:
            axes.legend(frameon=False)
    figure.savefig(path)
    return len(with_curves)


def _points(curve: object) -> list[tuple[float, float]]:
    """Return the finite points of a curve; what is no curve has none."""
    if not isinstance(curve, dict):
        return []
    xs, ys = curve.get("x", ()), curve.get("y", ())
    if not (isinstance(xs, Sequence) and isinstance(ys, Sequence)):
        return []
    pairs = zip(xs, ys, strict=False)
    return [(x, y) for x, y in pairs if isinstance(x, (int, float)) and isinstance(y, (int, float))]
