"""Reports from study folders: what the command line and notebooks call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs_bench.errors import InputError
from jobs_bench.report import html as as_html
from jobs_bench.report import markdown as as_markdown
from jobs_bench.report import words
from jobs_bench.report.board import Board, Exclusion, Row
from jobs_bench.report.studies import StudyRecord, load_studies
from jobs_bench.report.summary import summarise
from jobs_bench.store import derived


@dataclass(frozen=True, slots=True)
class Report:
    """What was found and written.

    Attributes:
        boards: One a (task, model).
        studies: Every study found, whatever its state.
        excluded: Studies in no row, with the reason.
        files: Report files written.
    """

    boards: tuple[Board, ...]
    studies: tuple[StudyRecord, ...]
    excluded: tuple[Exclusion, ...]
    files: tuple[Path, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows of all boards, best first within each."""
        return tuple(row for board in self.boards for row in board.rows)

    @property
    def message(self) -> str:
        """Return in a sentence or two how much was found and left out."""
        return words.overview(self.boards, len(self.excluded))

    def to_json(self) -> list[dict[str, Any]]:
        """Return one JSON object a row; no value in it is NaN."""
        return [row.to_json() for row in self.rows]


def build_report(root: Path, *, html: bool = True, markdown: bool = True) -> Report:
    """Return the report on every study at or below `root`, and write it there.

    Writes ``report.md`` and ``report.html`` into `root` and tables into ``derived/`` of each study
    that can be read. Studies that are unfinished, damaged or not comparable are in
    `Report.excluded`.

    Raises:
        InputError: There is no study at or below `root`.
    """
    studies = load_all(root)
    boards, excluded = summarise(studies)
    for study in studies:
        if study.events:
            derived.write(study.folder, study.facts, study.events, study.fingerprint)
    files = []
    for wanted, name, render in (
        (markdown, "report.md", as_markdown.render),
        (html, "report.html", as_html.render),
    ):
        if wanted:
            _write(root / name, render(boards, excluded))
            files.append(root / name)
    return Report(tuple(boards), tuple(studies), tuple(excluded), tuple(files))


def load_all(root: Path) -> Sequence[StudyRecord]:
    """Return every study at or below `root`.

    Raises:
        InputError: There is none.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; wanted a study folder or a folder of them")
    studies = load_studies(root)
    if not studies:
        raise InputError(
            f"{root}: no study at or below it (no manifest.json); wanted a study folder or a "
            "folder of them, as jobs-bench run writes them"
        )
    return studies


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)
