"""The comparative-paper kit: tables, figures, a paragraph on methods, and the references.

Everything is made from the same leaderboard as the page, in files that LaTeX takes as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs_bench.report import charts, leaderboard_text, mixtures
from jobs_bench.report.board import Exclusion
from jobs_bench.report.canvas import PRINT, save
from jobs_bench.report.leaderboard_text import count, latex, write
from jobs_bench.report.standings import Leaderboard
from jobs_bench.stats.bootstrap import RESAMPLES

OWN_REFERENCES = (
    ("agarwal2021", "Agarwal, Schwarzer, Castro, Courville and Bellemare 2021, arXiv 2108.13264"),
    ("demsar2006", "Demsar 2006, JMLR 7"),
)
"""Behind the interquartile mean and the test of ranks."""


def write_paper(
    boards: Sequence[Leaderboard],
    excluded: Sequence[Exclusion],
    out: Path,
    references: Mapping[str, Sequence[str]],
) -> list[Path]:
    """Write the kit into `out`; return its files.

    ``tables.tex``, ``methods.tex``, ``references.bib``, and for each board figures as PDF and SVG.

    Args:
        boards: At least one.
        excluded: Studies that count nowhere; the paragraph on methods counts them.
        out: Folder.
        references: Papers or sources of each method, as its strategies state them.
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "tables.tex": leaderboard_text.to_latex(boards),
        "methods.tex": methods(boards, excluded, references),
        "references.bib": bibliography(references),
    }
    for name, text in texts.items():
        write(out / name, text)
    files = [out / name for name in texts]
    for i, board in enumerate(boards, start=1):
        files += _figures(board, out, f"-{i}" if len(boards) > 1 else "")
    return files


def _figures(board: Leaderboard, out: Path, suffix: str) -> list[Path]:
    figures = {
        "scores": charts.scores(board, PRINT),
        "traces": charts.traces(board, PRINT, key=True),
        "profiles": charts.profiles(board, PRINT, key=True),
        "ranks": charts.ranks(board, PRINT),
        "interaction": charts.interaction(board, PRINT),
        "costs": charts.costs(board, PRINT),
    }
    for k, task in enumerate(board.references, start=1):
        figures[f"mixtures-{k}"] = charts.mixtures(*mixtures.courses(board, task), PRINT)
    files = []
    for name, figure in figures.items():
        if figure is None:
            continue
        for kind in ("pdf", "svg"):
            path = out / f"{name}{suffix}.{kind}"
            save(figure, path)
            files.append(path)
    return files


def methods(
    boards: Sequence[Leaderboard],
    excluded: Sequence[Exclusion],
    references: Mapping[str, Sequence[str]],
) -> str:
    """Return a paragraph that says what was run and how it was scored, in LaTeX."""
    blocks = ["% a start for the section on methods; made by jobs-bench paper"]
    for board in boards:
        tasks = ", ".join(latex(t) for t in board.references)
        seeds = sorted({n for s in board.standings for n in s.counts})
        many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        versions = sorted(
            {f"{k} {v}" for s in board.standings for k, v in s.versions.items() if v != "absent"}
        )
        blocks.append(
            f"We compare {_listed([_cited(s.method, references) for s in board.standings])} on "
            f"{count(len(board.references), 'task')} ({tasks}). "
            f"Each study may spend {board.budget:g} full-run equivalents, proxies and evaluations "
            f"included, with {count(board.workers, 'worker')}; each method runs with {many} seeds "
            "a task "
            f"({board.n_runs} studies). What is scored is the final recommendation of a study, "
            "trained in full with fresh seeds and evaluated on items that the search never saw. "
            "Scores are normalised with frozen references (0: the median of random search with the "
            "same budget, 100: the best known score). We report interquartile means "
            r"\citep{agarwal2021} with 95\,\% percentile intervals of "
            f"{RESAMPLES} resamples of tasks and, within tasks, seeds. "
            f"{latex(board.significance.statement)}"
            + (r" \citep{demsar2006}" if board.significance.test == "friedman-nemenyi" else "")
        )
        if versions:
            blocks.append(f"Versions: {latex(', '.join(versions))}.")
    if excluded:
        n = len(excluded)
        blocks.append(
            f"{n} {'study was' if n == 1 else 'studies were'} left out: unfinished, failed, or not "
            "comparable by version, budget or task signature; the leaderboard names each with its "
            "reason."
        )
    return "\n\n".join(blocks) + "\n"


def _cited(method: str, references: Mapping[str, Sequence[str]]) -> str:
    text = rf"\texttt{{{latex(method)}}}"
    keys = citation_keys(references)
    cited = list(dict.fromkeys(keys[source] for source in references.get(method, ()) if source))
    return rf"{text} \citep{{{', '.join(cited)}}}" if cited else text


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def bibliography(references: Mapping[str, Sequence[str]]) -> str:
    """Return a BibTeX entry for each source: what the strategies say of themselves, no more.

    Entries are ``@misc`` with the source as a note: a strategy names its paper in a line of text,
    and nothing is made up to fill the other fields.
    """
    sources = dict(OWN_REFERENCES)
    for text, key in citation_keys(references).items():
        sources.setdefault(key, text)
    entries = ["% from the references that the strategies state; complete before submission"]
    for key, text in sources.items():
        fields = [f"  note = {{{latex(text)}}}"]
        year = _year(text)
        if year:
            fields.append(f"  year = {{{year}}}")
        if _arxiv(text):
            fields += [f"  eprint = {{{_arxiv(text)}}}", "  archivePrefix = {arXiv}"]
        entries.append(f"@misc{{{key},\n" + ",\n".join(fields) + "\n}")
    return "\n\n".join(entries) + "\n"


def citation_keys(references: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return ``surnameyear`` for each source, told apart by a letter where two papers share it.

    Sources that name the same arXiv number are one paper.
    """
    keys: dict[str, str] = {}
    papers: dict[str, str] = {}
    for text in sorted({r for found in references.values() for r in found if r}):
        paper = _arxiv(text) or text
        if paper not in papers:
            stem = f"{_surname(text)}{_year(text)}"
            taken = {*papers.values(), *(key for key, _ in OWN_REFERENCES)}
            letters = ("", *"bcdefghijklmnopqrstuvwxyz")
            papers[paper] = next(stem + c for c in letters if stem + c not in taken)
        keys[text] = papers[paper]
    return keys


def _surname(text: str) -> str:
    words: list[str] = re.findall(r"[A-Za-z]{2,}", text)
    named = [w for w in words if w[0].isupper()]
    return (named or words or ["source"])[0].lower()


def _arxiv(text: str) -> str:
    found = re.search(r"arXiv[: ]*(\d{4}\.\d{4,5})", text)
    return found[1] if found else ""


def _year(text: str) -> str:
    found = re.search(r"\b(19|20)\d{2}\b", text)
    return found[0] if found else ""
