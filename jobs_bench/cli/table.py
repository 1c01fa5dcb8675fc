"""``jobs-bench table``: record, build, import, validate, info."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jobs_bench.errors import OptionError

app = typer.Typer(no_args_is_help=True, help="Recorded tables: make, check and describe them.")

Json = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
DataDir = Annotated[
    Path | None,
    typer.Option(envvar="JOBS_BENCH_DATA", help="Folder with data sets, one folder each."),
]


@app.command()
def record(
    task: Annotated[list[str], typer.Option(help="Live task; several share each training run.")],
    out: Annotated[Path, typer.Option(help="Folder of the recording.")],
    name: Annotated[str, typer.Option(help="Name of the table.")],
    model: Annotated[str | None, typer.Option(help="Base model. Default: the task's own.")] = None,
    data_dir: DataDir = None,
    configs: Annotated[int, typer.Option(min=1, help="Configurations of the design.")] = 512,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds of each.")] = 2,
    points: Annotated[int, typer.Option(min=1, help="Points of a curve, at least.")] = 10,
    design_seed: Annotated[int, typer.Option(help="Seed of the Sobol design.")] = 20,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    pack: Annotated[
        str, typer.Option(help="Low-rank trials that share a pass, at most, or auto.")
    ] = "1",
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Train a Sobol design and record the curves; begun again, it goes on where it stopped."""
    from jobs_bench.cli import table_record as recording
    from jobs_bench.cli.compose import pack_of

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    order = recording.Order(
        name,
        tuple(dict.fromkeys(task)),
        model,
        data_dir,
        configs,
        seeds,
        points,
        design_seed,
        pack_of(pack),
    )
    if worker:
        number, _, workers = worker.partition("/")
        if not (number.isdigit() and workers.isdigit() and int(number) < int(workers)):
            raise OptionError(f"got --worker {worker}; wanted a number and a count, as in 0/2")
        recording.record(order, out, int(number), int(workers), say)
        return
    again = ["table", "record", "--out", str(out), "--name", name, "--configs", str(configs)]
    again += [
        "--pack",
        pack,
        "--seeds",
        str(seeds),
        "--points",
        str(points),
        "--design-seed",
        str(design_seed),
    ]
    for spec in order.tasks:
        again += ["--task", spec]
    again += ["--model", model] if model else []
    again += ["--data-dir", str(data_dir)] if data_dir else []
    recording.record_all(order, out, jobs, again, say)


@app.command()
def build(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording, finished or not.")],
    out: Annotated[Path, typer.Option(help="Folder of the table.")],
    data_dir: DataDir = None,
) -> None:
    """Make a table of what a recording holds so far."""
    from jobs_bench.cli import table_record
    from jobs_bench.cli.provenance import hardware
    from jobs_bench.table.table import write_table

    table = table_record.build(recording, data_dir, {"machine": hardware()})
    write_table(out, table)
    Console().print(f"{len(table.trials)} trials, {len(table.points)} points: {out}")


@app.command("import")
def import_(
    mapping: Annotated[Path, typer.Argument(help="YAML file that says which column is what.")],
    data: Annotated[Path, typer.Argument(help="Folder of the CSV or JSONL files.")],
    out: Annotated[Path, typer.Option(help="Folder of the table.")],
) -> None:
    """Make a table of somebody's sweep; one with problems is not written."""
    from jobs_bench.errors import DataError
    from jobs_bench.table.importing import import_table
    from jobs_bench.table.table import write_table
    from jobs_bench.table.validate import validate as problems_of

    table = import_table(mapping, data)
    problems = problems_of(table)
    if problems:
        raise DataError(f"{len(problems)} problems: {'; '.join(problems)}", mapping)
    write_table(out, table)
    Console().print(f"{len(table.trials)} trials, {len(table.points)} points: {out}")


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(help="Folder of a table.")],
    target: Annotated[list[str] | None, typer.Option(help="Default: every target.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Default: dev and test.")] = None,
) -> None:
    """Fit surrogates and store them beside the table, with their held-out quality."""
    from jobs_bench.table import surrogate
    from jobs_bench.table.find import cached_table

    table = cached_table(folder)
    console = Console()
    for name in target or [t.name for t in table.header.targets]:
        for each in part or ["dev", "test"]:
            fitted = surrogate.fit(table, table.header.target(name), each)
            surrogate.store(folder, [fitted])
            told = ", ".join(f"{q.tau:.2f}@{q.step}" for q in fitted.held_out)
            verdict = "" if fitted.held_out[-1].tau >= surrogate.MIN_TAU else "  (will not load)"
            console.print(
                f"{name} {each}: {fitted.configs} configurations, held-out Kendall tau {told}, "
                f"R2 {fitted.held_out[-1].r2:.2f}, oracle tau {fitted.oracle_tau:.2f}{verdict}",
                markup=False,
                highlight=False,
            )


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="Folder of a table.")], as_json: Json = False
) -> None:
    """Tell what is wrong with a table; status 1 when something is."""
    from jobs_bench.table.table import read_table
    from jobs_bench.table.validate import validate as problems_of

    problems = problems_of(read_table(folder))
    if as_json:
        print_json(problems)
    else:
        Console().print("\n".join(problems) or "valid", markup=False, highlight=False)
    if problems:
        raise typer.Exit(1)


@app.command()
def info(
    folder: Annotated[Path, typer.Argument(help="Folder of a table.")], as_json: Json = False
) -> None:
    """Describe a table: size, targets, parts, surrogates, provenance."""
    from jobs_bench.cli import show
    from jobs_bench.table.describe import describe

    facts = describe(folder)
    if as_json:
        print_json(facts)
    else:
        show.facts(Console(), facts)


def print_json(data: object) -> None:
    """Print JSON to standard output."""
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201
