"""``jobs-bench leaderboard``, ``compare`` and ``paper``: thin, like every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs_bench.errors import OptionError

leaderboard = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Leaderboards from bench folders, studies and pytest-benchmark files.",
)

Roots = Annotated[list[Path], typer.Argument(help="Bench folders, studies, or folders of them.")]
References = Annotated[
    Path | None,
    typer.Option(help="Folder of the frozen references. Default: references/ there or above."),
]
Json = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


@leaderboard.command("build")
def build(
    roots: Roots,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files. Default: the first folder.")
    ] = None,
    references: References = None,
    readme: Annotated[
        Path | None, typer.Option(help="File whose marked section gets the short form.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write leaderboard.md, .csv, .tex, .html and studies.csv: the same bytes for the same data."""
    from jobs_bench.cli.show import table
    from jobs_bench.report.leaderboard import build as make
    from jobs_bench.report.standing_tables import brief
    from jobs_bench.report.standing_tables import leaderboard as rows_of

    made = make(roots, out or roots[0], references=references, readme=readme)
    if as_json:
        boards = []
        for board in made.boards:
            shown = rows_of(board)
            rows = [
                dict(zip(shown.columns, (c.order for c in row), strict=True)) for row in shown.rows
            ]
            boards.append({"board": board.title, "rows": rows})
        left_out = [{"study": e.study, "reason": e.reason} for e in made.excluded]
        _print_json({"boards": boards, "left_out": left_out, "files": [str(f) for f in made.files]})
        return
    for board in made.boards:
        shown = brief(board)
        _say(board.title)
        texts = [dict(zip(shown.columns, (c.text for c in row), strict=True)) for row in shown.rows]
        table(Console(), texts)
        _say(board.significance.statement)
    _say(made.message)
    for path in made.files:
        _say(str(path))


@leaderboard.command("freeze")
def freeze(
    roots: Roots,
    references: References = None,
    baseline: Annotated[str, typer.Option(help="Method that is 0 on the scale.")] = "random",
    renew: Annotated[
        bool, typer.Option(help="Write a new version; every score on these tasks moves.")
    ] = False,
    best_known: Annotated[
        list[str] | None, typer.Option(help="TASK=SCORE, instead of what the studies show.")
    ] = None,
    noise_floor: Annotated[
        list[str] | None, typer.Option(help="TASK=SD, instead of what the studies show.")
    ] = None,
) -> None:
    """Write the frozen references of every task that random search was run on, once."""
    from jobs_bench.report.collect import collect
    from jobs_bench.report.references import freeze as write

    files = write(
        collect(roots),
        references or roots[0] / "references",
        baseline=baseline,
        renew=renew,
        best_known=_numbers("--best-known", best_known),
        noise_floor=_numbers("--noise-floor", noise_floor),
    )
    for path in files:
        _say(str(path))


@leaderboard.command("from-benchmarks")
def from_benchmarks(
    files: Annotated[list[Path], typer.Argument(help="Files of pytest --benchmark-json.")],
    out: Annotated[Path | None, typer.Option(help="Folder for benchmarks.md, .csv, .html.")] = None,
    as_json: Json = False,
) -> None:
    """Turn pytest-benchmark files into a leaderboard: quality, overhead, studies a second, ops."""
    from jobs_bench.cli.show import table
    from jobs_bench.report import benchmarks

    report = benchmarks.read(files)
    if as_json:
        _print_json(report.to_json())
    else:
        for shown in report.tables():
            _say(shown.caption)
            rows = [
                dict(zip(shown.columns, (c.text for c in row), strict=True)) for row in shown.rows
            ]
            table(Console(), rows)
    if out is not None:
        for path in benchmarks.write(report, out):
            if not as_json:
                _say(str(path))


def compare(
    a: Annotated[str, typer.Argument(help="A method of the studies, as in jobs.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Bench folders, studies, or folders of them.")
    ] = None,
    references: References = None,
    as_json: Json = False,
) -> None:
    """Set two methods against each other, paired by task and seed."""
    from jobs_bench.report.compare import compare as pair
    from jobs_bench.report.leaderboard import standings_of

    boards, excluded = standings_of(roots or [Path("results")], references)
    found = pair(boards, excluded, a, b)
    if as_json:
        _print_json([one.to_json() for one in found])
        return
    for one in found:
        _say("\n".join(one.lines()))


def paper(
    roots: Roots,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, text and BibTeX.")],
    references: References = None,
) -> None:
    """Write the kit for a paper: LaTeX tables, PDF and SVG figures, methods, BibTeX."""
    from jobs_bench.report.leaderboard import standings_of
    from jobs_bench.report.paper import write_paper

    boards, excluded = standings_of(roots, references)
    if not boards:
        raise OptionError(
            f"no study can be ranked, {len(excluded)} count nowhere: {excluded[0].study}: "
            f"{excluded[0].reason}"
        )
    sources = {s.method: _sources(s.strategy) for board in boards for s in board.standings}
    for path in write_paper(boards, excluded, out, sources):
        _say(str(path))


def _sources(strategy: str) -> list[str]:
    """Return what a strategy and those inside it state as their sources, if they are installed."""
    from jobs_bench.errors import InputError
    from jobs_bench.registry.loading import load_strategy
    from jobs_bench.registry.spec import Spec

    found = []
    spec: str | None = strategy
    while spec:
        try:
            found.append(load_strategy(spec).info.reference)
            spec = Spec.parse(spec).options.get("base")
        except InputError:  # a method that is not installed here: its row stays, without a source
            break
    return [part.strip() for reference in found for part in reference.split(";") if part.strip()]


def _numbers(option: str, texts: list[str] | None) -> dict[str, float]:
    found = {}
    for text in texts or []:
        task, equals, value = text.rpartition("=")
        try:
            found[task] = float(value)
        except ValueError:
            equals = ""
        if not equals or not task:
            raise OptionError(f"got {option} {text!r}; wanted TASK=NUMBER, as in pocket_word2=0.8")
    return found


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201
