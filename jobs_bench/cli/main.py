"""``jobs-bench``: every command, thin; what it needs is imported when it runs."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs_bench.cli import leaderboard as boards
from jobs_bench.cli.table import app as table_app
from jobs_bench.errors import InputError, JobsBenchError, JournalError, OptionError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Referee for strategies that choose a data mixture and a LoRA configuration together.",
)
app.add_typer(table_app, name="table")

app.add_typer(boards.leaderboard, name="leaderboard")
app.command("compare")(boards.compare)
app.command("paper")(boards.paper)

EXIT_UNFINISHED = 3
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]
"""Click's base class, wherever this version of typer keeps its click."""

Json = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
DataDir = Annotated[
    Path | None,
    typer.Option(envvar="JOBS_BENCH_DATA", help="Folder with data sets, one folder each."),
]
Model = Annotated[
    str | None,
    typer.Option(help="pocket, smollm2-135m, a hub id or a folder. Default: the task's own."),
]
Pack = Annotated[
    str,
    typer.Option(
        help="Low-rank trials that share a pass, at most, or auto. From 2 on, the last digits "
        "depend on which trials ran together.",
    ),
]
Task = Annotated[str, typer.Option(help="Task, as in pocket_word2 or arc_easy?horizon=50.")]
Budget = Annotated[str, typer.Option(help="Total of each study: 8x, 2e6tok, 1e15flop or 3600s.")]


class Kind(StrEnum):
    """What `list` can list."""

    strategies = "strategies"
    tasks = "tasks"
    models = "models"
    controllers = "controllers"


class Driver(StrEnum):
    """What runs the segments."""

    auto = "auto"
    inline = "inline"
    local = "local"


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201


def _console(*, json_mode: bool = False) -> Console:
    return Console(stderr=json_mode)


@app.command("list")
def list_(kind: Kind, as_json: Json = False) -> None:
    """List strategies, tasks, models or controllers; nothing is imported."""
    from jobs_bench.cli import show

    rows = show.models() if kind is Kind.models else show.plugins(kind.value)
    if as_json:
        _print_json(rows)
    else:
        brief = [{k: v for k, v in row.items() if k != "entry_point"} for row in rows]
        show.table(_console(), brief)


@app.command()
def info(name: str, model: Model = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Tell all that is known of a strategy, a task or a controller."""
    from jobs_bench.cli import show

    facts = show.info(name, model, data_dir)
    if as_json:
        _print_json(facts)
    else:
        show.facts(_console(), facts)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation: native operators, plug-ins, models, data."""
    from jobs_bench.cli import show

    report = show.doctor()
    if as_json:
        _print_json(report)
    else:
        show.facts(_console(), report)


@app.command()
def fetch(
    name: str,
    force: Annotated[bool, typer.Option(help="Fetch it again although it is there.")] = False,
) -> None:
    """Get a model or a data set into the user cache."""
    from jobs_bench.assets.fetch import fetch as get

    console = _console()
    get(name, lambda text: console.print(text, markup=False, highlight=False), force=force)


@app.command()
def estimate(
    task: Task,
    budget: Budget = "8x",
    model: Model = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell what a study would cost, before anything runs."""
    from jobs_bench.cli import show

    facts = show.estimate(task, model, data_dir, budget)
    if as_json:
        _print_json(facts)
    else:
        show.facts(_console(), facts)


@app.command()
def run(
    task: Task,
    strategy: Annotated[list[str], typer.Option(help="Strategy, as in jobs_paper?n_pilot=8.")],
    model: Model = None,
    data_dir: DataDir = None,
    budget: Budget = "8x",
    seed: Annotated[list[int] | None, typer.Option(help="Study seed; give several.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Segments at the same time.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the studies.")] = Path("runs"),
    driver: Annotated[Driver, typer.Option(help="auto: local from two workers on.")] = Driver.auto,
    oracle_seeds: Annotated[
        int, typer.Option(min=1, help="Runs on hidden items that a recommendation gets.")
    ] = 2,
    pack: Pack = "1",
    as_json: Json = False,
) -> None:
    """Run studies: every strategy with every seed; those that are done are skipped."""
    from jobs_bench.budget import Budget as Total
    from jobs_bench.cli.compose import BenchSpec, pack_of
    from jobs_bench.cli.progress import watch_for
    from jobs_bench.cli.studies import Order
    from jobs_bench.cli.studies import run as run_studies

    order = Order(
        bench=BenchSpec(task, model, None if data_dir is None else str(data_dir)),
        strategies=tuple(dict.fromkeys(strategy)),
        seeds=tuple(dict.fromkeys(seed or [0])),
        budget=Total.parse(budget),
        workers=workers,
        out=out,
        driver=driver.value,
        oracle_seeds=oracle_seeds,
        pack=pack_of(pack),
    )
    closed = run_studies(order, watch_for(_console(json_mode=as_json), json=as_json))
    _report(out, as_json=as_json)
    if not closed:
        raise typer.Exit(EXIT_UNFINISHED)


@app.command()
def resume(
    folder: Path,
    data_dir: DataDir = None,
    driver: Driver = Driver.auto,
    as_json: Json = False,
) -> None:
    """Go on with the unfinished studies at or below a folder."""
    from jobs_bench.cli.progress import watch_for
    from jobs_bench.cli.studies import resume as resume_studies

    where = None if data_dir is None else str(data_dir)
    watch = watch_for(_console(json_mode=as_json), json=as_json)
    closed = resume_studies(folder, where, driver.value, watch)
    _report(folder, as_json=as_json)
    if not closed:
        raise typer.Exit(EXIT_UNFINISHED)


@app.command()
def bench(
    suite: Annotated[str, typer.Option(help="dev, test, smoke or a YAML file.")],
    strategies: Annotated[list[str], typer.Option(help="Strategy, label=strategy for a label.")],
    out: Annotated[Path, typer.Option(help="Bench folder.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="Default: as the suite says.")] = None,
    budget: Annotated[
        list[float] | None, typer.Option(help="Full-run equivalents. Default: the suite's.")
    ] = None,
    overhead: Annotated[
        str, typer.Option(help="Strategies' own time: free, fixed:SECONDS or measured.")
    ] = "free",
    jobs: Annotated[int, typer.Option(min=1, help="Processes, one thread each.")] = 1,
    as_json: Json = False,
) -> None:
    """Simulate every strategy on the recorded tables of a suite; begun again, it goes on."""
    from jobs_bench.cli.bench import Order, run

    console = _console(json_mode=True)
    command = " ".join(["jobs-bench", *sys.argv[1:]])
    order = Order(
        suite, tuple(strategies), seeds, tuple(budget or ()), overhead, jobs, out, command
    )
    done = run(order, lambda text: console.print(text, markup=False, highlight=False))
    pace = 60 * done.fresh / max(done.seconds, 1e-9)
    if as_json:
        facts = {"studies": done.studies, "run_now": done.fresh, "states": done.states}
        named = ("strategy", "task", "reason")
        unable = [
            {**dict(zip(named, pair, strict=True)), "studies": n} for pair, n in done.unable.items()
        ]
        _print_json({**facts, "not_applicable": unable, "seconds": round(done.seconds, 3)})
    else:
        for (label, task, reason), n in done.unable.items():
            _console().print(
                f"not applicable: {label} on {task}, {n} studies: {reason}",
                markup=False,
                highlight=False,
            )
        told = ", ".join(f"{n} {state}" for state, n in done.states.items())
        _console().print(
            f"{done.studies} studies ({told}), {done.fresh} run now, {pace:.0f} a minute: {out}",
            markup=False,
            highlight=False,
        )


@app.command()
def status(folder: Path, as_json: Json = False) -> None:
    """Tell how far the studies at or below a folder are."""
    from jobs_bench.cli import show
    from jobs_bench.report.status import status as states

    found = states(folder)
    if as_json:
        _print_json([state.to_json() for state in found])
    else:
        show.table(_console(), [state.to_row() for state in found])


@app.command()
def report(folder: Path, as_json: Json = False) -> None:
    """Write report.md, report.html and the tables of the studies at or below a folder."""
    damaged = _report(folder, as_json=as_json)
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise JournalError(f"left out of the report: {damaged[0]}{more}")


@app.command()
def validate(folder: Path, as_json: Json = False) -> None:
    """Check the studies at or below a folder: checksums, sums, budgets, order."""
    from jobs_bench.report.validate import NOTE
    from jobs_bench.report.validate import validate as problems_of
    from jobs_bench.store.folder import study_folders

    found = study_folders(folder)
    if not found:
        raise OptionError(f"{folder}: no study here; wanted a folder that `run --out` made")
    problems = {str(f.root): problems_of(f.root) for f in found}
    if as_json:
        _print_json(problems)
    else:
        console = _console()
        for where, lines in problems.items():
            valid = "" if any(not line.startswith(NOTE) for line in lines) else "  valid"
            text = "\n".join([*(f"  {line}" for line in lines), valid]).rstrip()
            console.print(f"{where}\n{text}", markup=False, highlight=False)
    if any(not line.startswith(NOTE) for lines in problems.values() for line in lines):
        raise typer.Exit(1)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="A study, or a folder with several.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves of a single study: .svg, .png or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what strategies left beside their recommendations: splits, predictors, bounds."""
    from jobs_bench.cli import explain as explaining

    found = explaining.artifacts(folder)
    if plot is not None:
        if plot.suffix not in (".svg", ".png", ".pdf"):
            raise OptionError(f"got --plot {plot}; wanted a name that ends in .svg, .png or .pdf")
        if len(found) > 1:
            raise OptionError(
                f"got --plot with {len(found)} studies; wanted one of {', '.join(found)}"
            )
        (named,) = found.values()
        if not explaining.draw(named, plot):
            raise OptionError(f"{folder}: got --plot, but no artifact has curves")
    if as_json:
        _print_json(found)
        return
    for root, named in found.items():
        _console().print(root, markup=False, highlight=False)
        for name, content in named.items():
            explaining.show(_console(), name, content)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A study, or a folder with several.")],
    out: Annotated[Path, typer.Option(help="Folder for best.yaml and the adapter.")],
    strategy: Annotated[str | None, typer.Option(help="Only studies of this strategy.")] = None,
    train: Annotated[bool, typer.Option(help="Train and write the adapter.")] = True,
    seed: Annotated[int, typer.Option(help="Training seed of the adapter.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Write the best recommendation as best.yaml and as a trained PEFT adapter."""
    from jobs_bench.cli.export import export as write

    console = _console()
    lines = write(folder, out, strategy=strategy, train=train, seed=seed, data_dir=data_dir)
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _report(folder: Path, *, as_json: bool) -> list[str]:
    """Write and print the report; return what is wrong with the damaged studies."""
    from jobs_bench.cli import show
    from jobs_bench.report.build import build_report

    made = build_report(folder)
    damaged = [f"{s.folder.root}: {s.detail}" for s in made.studies if s.state == "damaged"]
    if as_json:
        _print_json(made.to_json())
        return damaged
    console = _console()
    rows: list[dict[str, Any]] = made.to_json()
    show.leaderboard(console, rows)
    if made.message:
        console.print(made.message, markup=False, highlight=False)
    console.print(f"{folder / 'report.html'}", markup=False, highlight=False)
    return damaged


def main() -> None:
    """Run a command; one line and status 2 for what the user can mend."""
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except InputError as err:
        print(f"jobs-bench: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except JobsBenchError as err:
        print(f"jobs-bench: {type(err).__name__}: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except OSError as err:
        if err.filename is None and err.errno is None:
            raise
        print(f"jobs-bench: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except USAGE_ERROR as err:
        text = " ".join(err.format_message().split())
        print(f"jobs-bench: {text} (--help tells more)", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
