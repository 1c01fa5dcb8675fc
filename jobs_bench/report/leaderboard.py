"""Builds the leaderboard: studies in, Markdown, CSV, LaTeX and one HTML page out.

The same studies and references give the same bytes: no clock, no path, no version of ours goes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs_bench.report import leaderboard_html, leaderboard_text
from jobs_bench.report.board import Exclusion
from jobs_bench.report.collect import collect
from jobs_bench.report.leaderboard_text import write
from jobs_bench.report.references import load_references
from jobs_bench.report.standing_words import overview
from jobs_bench.report.standings import Leaderboard, leaderboards

FOLDER = "references"


@dataclass(frozen=True, slots=True)
class Built:
    """What was found and written."""

    boards: tuple[Leaderboard, ...]
    excluded: tuple[Exclusion, ...]
    files: tuple[Path, ...]

    @property
    def message(self) -> str:
        """Return in a sentence or two how much was found and left out."""
        return overview(self.boards, self.excluded)


def standings_of(
    roots: Sequence[Path], references: Path | None
) -> tuple[list[Leaderboard], list[Exclusion]]:
    """Return the leaderboards of everything at or below `roots`.

    Args:
        roots: Bench folders, study folders, or folders of them.
        references: Folder of the frozen references, ``None``: see `references_folder`.

    Raises:
        InputError: There is no study, or a reference file is damaged.
    """
    runs = collect(roots)
    return leaderboards(runs, load_references(references or references_folder(roots[0])))


def references_folder(root: Path) -> Path:
    """Return ``references`` in `root` or in one of the two folders above it, where there is one."""
    near = [root.resolve(), *root.resolve().parents[:2]]
    return next((p / FOLDER for p in near if (p / FOLDER).is_dir()), root / FOLDER)


def build(
    roots: Sequence[Path],
    out: Path,
    *,
    references: Path | None = None,
    readme: Path | None = None,
) -> Built:
    """Write ``leaderboard.{md,csv,tex,html}`` and ``studies.csv`` into `out`.

    Args:
        roots: See `standings_of`.
        out: Folder for the files.
        references: See `standings_of`.
        readme: File whose marked section gets the short form.

    Raises:
        InputError: There is no study, a reference file is damaged, or `readme` has no markers.
    """
    boards, excluded = standings_of(roots, references)
    out.mkdir(parents=True, exist_ok=True)
    made = {
        "leaderboard.md": leaderboard_text.to_markdown(boards, excluded),
        "leaderboard.csv": leaderboard_text.to_csv(boards),
        "leaderboard.tex": leaderboard_text.to_latex(boards),
        "leaderboard.html": leaderboard_html.render(boards, excluded),
        "studies.csv": leaderboard_text.studies_csv(boards, excluded),
    }
    for name, text in made.items():
        write(out / name, text)
    files = [out / name for name in made]
    if readme is not None:
        leaderboard_text.put_between_markers(readme, leaderboard_text.section(boards, excluded))
        files.append(readme)
    return Built(tuple(boards), tuple(excluded), tuple(files))
