"""``table record`` and ``table build``: from live tasks to a recorded table."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs_bench.assets.models import resolve
from jobs_bench.cli.provenance import versions
from jobs_bench.errors import OptionError, WorkerError
from jobs_bench.fidelity import Fidelity
from jobs_bench.registry.loading import default_model, load_task
from jobs_bench.runner.machine import derive_seed
from jobs_bench.space.configuration import Configuration
from jobs_bench.table.design import design
from jobs_bench.table.header import TableHeader, TableMetric, Target
from jobs_bench.table.recording import (
    Plan,
    RecordedPoint,
    RecordedTrial,
    assemble,
    done,
    open_plan,
    part_files,
    read_lines,
    read_plan,
    writing,
)
from jobs_bench.table.table import Table
from jobs_bench.task.contract import Evaluator, Task, TaskSetup
from jobs_bench.task.finetune import FineTune
from jobs_bench.trial import Value

Say = Callable[[str], None]
UNITS = {"gold_bpb": "bits per byte"}


@dataclass(frozen=True, slots=True)
class Order:
    """What to record: see `Plan`; and how many trials share a pass (``None``: as fits)."""

    name: str
    tasks: tuple[str, ...]
    model: str | None
    data_dir: Path | None
    configs: int
    seeds: int
    points: int
    design_seed: int
    pack: int | None = 1


class Source:
    """The live tasks of a recording.

    Raises:
        InputError: Tasks that are unknown or do not go together.
    """

    def __init__(self, tasks: Sequence[str], model: str | None, data_dir: Path | None) -> None:
        name = model or default_model(tasks[0])
        facts = None if name is None else resolve(name)
        setup = TaskSetup(facts, data_dir)
        self.specs = dict(zip(tasks, (load_task(t, setup) for t in tasks), strict=True))
        self.targets = dict(zip(_short(tasks), self.specs.values(), strict=True))
        self.first = next(iter(self.specs.values()))
        for spec, task in self.specs.items():
            if task.space() != self.first.space():
                raise OptionError(f"{spec} has another space than {tasks[0]}; wanted one for all")

    def finetune(self) -> dict[str, FineTune]:
        """Return what the tasks hand to the shared evaluator, by target."""
        found: dict[str, FineTune] = {}
        for target, task in self.targets.items():
            catcher = _Catcher()
            task.evaluator(catcher)
            if catcher.spec is None:
                raise OptionError(f"{target} does not fine-tune a model: nothing to record")
            found[target] = catcher.spec
        return found

    def steps(self, points: int) -> tuple[int, ...]:
        """Return the tasks' own steps and as many evenly spread ones as make `points`."""
        own = self.first.fidelity().steps
        horizon = own[-1]
        grids = [
            {*own, *(round(horizon * i / n) for i in range(1, n + 1))}
            for n in range(1, horizon + 1)
        ]
        enough = [g for g in grids if len(g) >= min(points, horizon)]
        fewest = min(len(g) for g in enough)
        return tuple(sorted([g for g in enough if len(g) == fewest][-1]))


def _even(horizon: int, n: int) -> list[int]:
    return [round(horizon * i / n) for i in range(1, n + 1)]


class _Catcher:
    """A workshop that keeps what a task wants to have fine-tuned."""

    workdir = Path()

    def __init__(self) -> None:
        self.spec: FineTune | None = None

    def finetune(self, spec: FineTune) -> Evaluator:
        self.spec = spec
        return _Idle()


class _Idle:
    """An evaluator of nothing: recordings train by themselves."""

    def run(self, segments: Sequence[Any]) -> Sequence[Any]:
        raise OptionError(f"got {len(segments)} segments while a recording was planned")

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> Sequence[Any]:
        raise OptionError(f"got an oracle of {config}, {seeds} while a recording was planned")

    def discard(self, trial_id: int) -> None:
        del trial_id

    def close(self) -> None:
        """Hold nothing."""


def plan_of(order: Order, source: Source) -> Plan:
    """Return the plan of an order."""
    if order.seeds < 1 or order.points < 1:
        raise OptionError(f"got seeds={order.seeds}, points={order.points}; wanted at least 1")
    return Plan(
        name=order.name,
        tasks=order.tasks,
        signatures=tuple(t.signature() for t in source.specs.values()),
        model=order.model,
        configs=order.configs,
        seeds=order.seeds,
        steps=source.steps(order.points),
        design_seed=order.design_seed,
        versions=versions(),
    )


def record(order: Order, folder: Path, worker: int, workers: int, say: Say) -> None:
    """Record this worker's share of the trials; those that are there already are skipped.

    Raises:
        InputError: A folder with another recording, or tasks that do not go together.
    """
    import torch

    from jobs_bench.evaluator.recording import Recorder  # only now: torch

    torch.set_num_threads(1)
    source = Source(order.tasks, order.model, order.data_dir)
    plan = plan_of(order, source)
    open_plan(folder, plan)
    configs = design(source.first.space(), plan.configs, plan.design_seed)
    recorder = Recorder(source.finetune(), plan.steps, pack=order.pack)
    with writing(folder, worker) as part:
        there = done(folder)
        todo = [t for i, t in enumerate(plan.order()) if i % workers == worker and t not in there]
        began = time.perf_counter()
        trials = [(configs[c], derive_seed("table", configs[c].key(), s)) for c, s in todo]
        for count, (place, got) in enumerate(recorder.run_all(trials), start=1):
            number, seed = todo[place]
            points = tuple(
                RecordedPoint(
                    r.step,
                    {
                        **_columns(r.visible, ""),
                        **_columns(r.hidden, "hidden."),
                    },
                    r.domain_losses,
                )
                for r in got.curve
            )
            train, evals = _costs(source.targets, configs[number])
            part.append(
                RecordedTrial(number, seed, got.status, points, train, evals, got.run_s, got.error)
            )
            pace = (time.perf_counter() - began) / count
            say(
                f"worker {worker}: {count} of {len(todo)}, {got.run_s:.1f} s, "
                f"{pace * (len(todo) - count) / 3600:.2f} h left"
            )


def record_all(order: Order, folder: Path, jobs: int, command: Sequence[str], say: Say) -> None:
    """Record with `jobs` processes and wait for them.

    Args:
        order: What to record.
        folder: Where.
        jobs: Processes.
        command: Arguments that start the same recording again.
        say: Told about the progress.

    Raises:
        WorkerError: A process failed; the others were waited for.
    """
    if jobs == 1:
        record(order, folder, 0, 1, say)
        return
    source = Source(order.tasks, order.model, order.data_dir)
    open_plan(folder, plan_of(order, source))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "jobs_bench.cli.main",
                *command,
                "--worker",
                f"{k}/{jobs}",
            ],
            env=env,
        )
        for k in range(jobs)
    ]
    failed = [k for k, child in enumerate(children) if child.wait() != 0]
    if failed:
        raise WorkerError(f"the recording processes {failed} of {jobs} failed; see above")


def build(folder: Path, data_dir: Path | None, about: dict[str, Any]) -> Table:
    """Return the table of what a recording holds so far.

    Args:
        folder: Of the recording.
        data_dir: Folder with data sets, as it was recorded with.
        about: Further facts for its provenance.

    Raises:
        DataError: Nothing was recorded.
        OptionError: The tasks are not those that were recorded.
    """
    from jobs_bench.evaluator.recording import Recorder  # only now: torch

    plan = read_plan(folder)
    source = Source(plan.tasks, plan.model, data_dir)
    signatures = tuple(t.signature() for t in source.specs.values())
    if signatures != plan.signatures:
        raise OptionError(
            f"{folder}: recorded on tasks with the signatures {', '.join(plan.signatures)}; "
            f"here they have {', '.join(signatures)}"
        )
    configs = design(source.first.space(), plan.configs, plan.design_seed)
    base = Recorder(source.finetune(), plan.steps).base()
    lines = [line for path in part_files(folder) for line in read_lines(path)]
    defaults = [r["run_s"] for r in lines if r["config"] == 0]
    header = TableHeader(
        name=plan.name,
        summary=f"Recorded runs of {', '.join(plan.tasks)}.",
        licence=source.first.info.licence,
        reference=source.first.info.reference,
        space=source.first.space(),
        fidelity=Fidelity(plan.steps, source.first.fidelity().unit),
        metrics=_metrics(source),
        targets=_targets(source),
        domains=source.first.info.domains,
        full_run_s=round(sum(defaults) / len(defaults), 3) if defaults else 1.0,
        base={t: base[t][task.info.metric.name].mean for t, task in source.targets.items()},
        provenance={
            "versions": dict(plan.versions),
            "design": {
                "kind": "sobol, every second mixture over one to four domains",
                "seed": plan.design_seed,
                "configs": plan.configs,
                "seeds": plan.seeds,
            },
            "recorded": f"{len(lines)} of {plan.configs * plan.seeds} trials",
            **about,
        },
    )
    return assemble(folder, header, configs)


def _metrics(source: Source) -> tuple[TableMetric, ...]:
    found: list[TableMetric] = []
    for side in ("", "hidden."):
        for target, task in source.targets.items():
            items = task.info.items[1 if side else 0]
            found += [
                TableMetric(
                    name=f"{target}.{side}{m.name}",
                    higher_is_better=m.higher_is_better,
                    low=m.low,
                    high=m.high,
                    unit=UNITS.get(m.name, "share of items"),
                    items=items,
                    at="horizon" if side else "curve",
                )
                for m in task.info.metrics
            ]
    return tuple(found)


def _targets(source: Source) -> tuple[Target, ...]:
    return tuple(
        Target(
            name=target,
            metric=f"{target}.{task.info.metric.name}",
            oracle=f"{target}.hidden.{task.info.metric.name}",
            metrics={m.name: f"{target}.{m.name}" for m in task.info.metrics},
            steps=task.fidelity().steps,
            task=spec,
            signature=task.signature(),
        )
        for (target, task), spec in zip(source.targets.items(), source.specs, strict=True)
    )


def _columns(scores: Any, side: str) -> dict[str, Value]:
    return {f"{t}.{side}{name}": v for t, metrics in scores.items() for name, v in metrics.items()}


def _costs(
    targets: dict[str, Task], config: Configuration
) -> tuple[tuple[float, float], dict[str, tuple[float, float]]]:
    """Return (tokens, FLOPs) of a whole training run, and of one evaluation by target."""
    train = (0.0, 0.0)
    evals: dict[str, tuple[float, float]] = {}
    for name, task in targets.items():
        steps = task.fidelity().steps
        charges = {c.category: c for c in task.cost(config, 0, steps[-1])}
        train = (float(charges["train"].tok), charges["train"].flop)
        scored = charges["eval"]
        evals[name] = (scored.tok / len(steps), scored.flop / len(steps))
    return train, evals


def _short(tasks: Sequence[str]) -> list[str]:
    """Return names of targets: the specs' names, without the head that all share."""
    names = [t.split("?")[0] for t in tasks]
    heads = {name.rpartition("_")[0] for name in names}
    shared = len(names) > 1 and len(heads) == 1
    short = [name.rpartition("_")[2] for name in names] if shared else names
    if len(set(short)) != len(short):
        raise OptionError(f"got the tasks {', '.join(tasks)}; wanted different names")
    return short
