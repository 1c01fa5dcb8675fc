"""The report as Markdown: the same tables and sentences, readable as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs_bench.report import tables, words
from jobs_bench.report.board import Board, Exclusion
from jobs_bench.report.studies import StudyRecord, study_command
from jobs_bench.report.tables import Cell, Table


def render(boards: Sequence[Board], excluded: Sequence[Exclusion]) -> str:
    """Return the document. Names are code spans; nothing in them is read as markup."""
    blocks = ["# jobs-bench report", text(words.overview(boards, len(excluded)))]
    for board in boards:
        blocks += _board(board)
    if excluded:
        blocks += ["## Studies that are in no row", words.EXCLUDED]
        blocks += [table(tables.excluded(excluded))]
    blocks += ["## How to read this", *words.READING]
    return "\n\n".join(blocks) + "\n"


def _board(board: Board) -> list[str]:
    studies = [s for found in board.studies.values() for s in found]
    blocks = [f"## {text(board.title)}", text(words.headline(board))]
    blocks += [captioned(tables.leaderboard(board))]
    if tables.mixtures(board):
        blocks += ["### Recommended mixture", table(tables.mixture_table(board))]
    blocks += ["### Recommended configuration", captioned(tables.configurations(board))]
    blocks += ["### Belief and outcome", words.BELIEFS, table(tables.per_seed(board))]
    blocks += ["### Budget", captioned(tables.spending(board))]
    failed = tables.failures(studies)
    blocks += ["### Failures", captioned(failed) if failed.rows else "No segment failed."]
    blocks += ["### Studies"]
    for study in studies:
        blocks += _study(study)
    return blocks


def _study(study: StudyRecord) -> list[str]:
    fence = "```"
    command = re.sub(r"\s", " ", study_command(study.facts)).replace(fence, "'''")
    facts = [("folder", study.name), *tables.study_facts(study)]
    lines = [f"- {name}: {code(value)}" for name, value in facts]
    return [f"#### {code(study.facts.strategy)}, seed {study.facts.seed}",
            f"{fence}sh\n{command}\n{fence}", "\n".join(lines)]  # fmt: skip


def captioned(shown: Table) -> str:
    """Return a table under its caption."""
    return f"{text(shown.caption)}.\n\n{table(shown)}"


def table(shown: Table) -> str:
    """Return a pipe table, numbers flush right."""
    if not shown.rows:
        return "None."
    numeric = shown.numeric
    head = [text(name) for name in shown.columns]
    rule = ["---:" if i in numeric else "---" for i in range(len(head))]
    rows = [head, rule, *([_cell(c) for c in row] for row in shown.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(cell: Cell) -> str:
    shown = code(cell.text) if cell.code else text(cell.text)
    return f"**{shown}**" if cell.strong and not cell.code else shown


def code(text: str) -> str:
    """Return `text` as a code span that also holds inside a table."""
    plain = re.sub(r"\s", " ", text).replace("|", r"\|")
    runs = [len(run) for run in re.findall("`+", plain)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") or not plain.strip() else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def text(raw: str) -> str:
    """Return `text` with everything escaped that Markdown or HTML would read as markup."""
    plain = re.sub(r"\s", " ", raw)
    escaped = re.sub(r"([\\`*\[\]|#~$])", r"\\\1", plain)
    escaped = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
