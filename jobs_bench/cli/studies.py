"""Runs studies: new ones for `run`, unfinished ones for `resume`."""

from __future__ import annotations

import hashlib
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from jobs_bench import ops
from jobs_bench.budget import Budget, Ledger
from jobs_bench.cli.compose import Bench, BenchSpec, Workforce, check_needs
from jobs_bench.cli.progress import Watch
from jobs_bench.cli.provenance import hardware, versions
from jobs_bench.errors import InputError, JournalError, OptionError
from jobs_bench.registry.catalogue import STRATEGIES, TASKS
from jobs_bench.registry.loading import distribution_of, load_strategy
from jobs_bench.runner.machine import Machine, derive_seed
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.runner.study import Study
from jobs_bench.store.folder import Manifest, StudyFolder, slug, study_folders
from jobs_bench.store.journal import read


@dataclass(frozen=True, slots=True)
class Order:
    """What `run` was asked for.

    Attributes:
        bench: Task, model, data.
        strategies: Strategy specs.
        seeds: Study seeds.
        budget: Of each study.
        workers: Segments at the same time.
        out: Folder for the studies.
        driver: ``auto``, ``inline`` or ``local``.
        oracle_seeds: How many oracle runs a recommendation gets.
        pack: Trials that share a pass, at most; ``None``: as the memory allows.
    """

    bench: BenchSpec
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    workers: int
    out: Path
    driver: str
    oracle_seeds: int
    pack: int | None = 1


class Interrupt:
    """Ctrl-C once: stop at the next event. Twice: at once."""

    def __init__(self, watch: Watch) -> None:
        self.asked = False
        self._watch = watch

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self.asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; die of the second."""
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._watch.say("stopping after the segment under way (Ctrl-C again: at once)")


@contextmanager
def interruptible(watch: Watch) -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM while studies run."""
    interrupt = Interrupt(watch)
    before = {s: signal.signal(s, interrupt.handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def study_path(out: Path, task: str, model: str | None, strategy: str, seed: int) -> Path:
    """Return where a study goes: ``out/<task>[-<model>]/<strategy>/seed-<seed>``.

    Specs that would share a folder name are told apart by a hash.
    """
    place = task if model is None else f"{task}-{model}"
    return out / _unique(place) / _unique(strategy) / f"seed-{seed}"


def _unique(text: str) -> str:
    short = slug(text)
    if short == text:
        return short
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def run(order: Order, watch: Watch) -> bool:
    """Run every study of an order; return whether all of them are closed.

    Studies that are closed already are skipped, unfinished ones are resumed.

    Raises:
        InputError: Before anything is spent: wrong names, options, budget, data, capabilities.
    """
    ops.require_native()
    bench = Bench(order.bench, order.pack)
    force = Workforce(bench, order.workers, order.driver, order.out / "logs")
    try:
        speed = None
        if order.budget.currency == "s":
            speed = bench.measure_speed(force.executor(order.out / "logs" / "speed"))
        problem = bench.problem(order.budget, order.workers, speed)
        for spec in order.strategies:
            strategy = load_strategy(spec)
            check_needs(strategy, problem)
            Machine(strategy, problem, Ledger(bench.full_run_flop()), seed=0)  # sets it up
        folders = []
        for spec in order.strategies:
            for seed in order.seeds:
                manifest = _manifest(bench, order, spec, seed, speed, force.threads)
                path = study_path(order.out, order.bench.task, bench.model_name, spec, seed)
                folders.append(_prepare(StudyFolder(path), manifest, order))
        return _run_all(bench, folders, force, order.out, watch)
    finally:
        force.close()


def _prepare(folder: StudyFolder, manifest: Manifest, order: Order) -> StudyFolder:
    if not folder.exists():
        data_dir = order.bench.data_dir
        folder.create(manifest, {} if data_dir is None else {"data_dir": data_dir})
        return folder
    have, want = folder.manifest().facts(), manifest.facts()
    differ = [k for k in want if have.get(k) != want[k] and k != "flop_per_s"]
    if differ:
        raise OptionError(
            f"{folder.root}: there is a study here with another "
            + ", ".join(f"{k} ({have.get(k)!r}, not {want[k]!r})" for k in differ)
            + "; choose another --out"
        )
    return folder


def _manifest(
    bench: Bench, order: Order, strategy: str, seed: int, speed: float | None, threads: int
) -> Manifest:
    info = bench.task.info
    plugins = {
        f"strategy {strategy}": distribution_of(STRATEGIES, strategy),
        f"task {order.bench.task}": distribution_of(TASKS, order.bench.task),
    }
    return Manifest(
        task=order.bench.task,
        strategy=strategy,
        model=bench.model_name,
        seed=seed,
        budget=str(order.budget),
        workers=order.workers,
        oracle_seeds=tuple(derive_seed("oracle", i) for i in range(order.oracle_seeds)),
        signature=bench.task.signature(),
        metric=info.metric.name,
        higher_is_better=info.metric.higher_is_better,
        steps=bench.task.fidelity().steps,
        full_run_flop=bench.full_run_flop(),
        flop_per_s=speed,
        versions={**versions(), **plugins},
        hardware=hardware(),
        backend={**ops.backend_record(), "worker_threads": threads, "pack": order.pack},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tags=info.tags,
    )


def resume(root: Path, data_dir: str | None, driver: str, watch: Watch) -> bool:
    """Resume every unfinished study at or below `root`; return whether all are closed now.

    Raises:
        JournalError: There is no study, or one belongs to another task signature.
    """
    ops.require_native()
    found = study_folders(root)
    if not found:
        raise JournalError(f"{root}: no study here; wanted a folder that `run --out` made")
    open_ones = [f for f in found if not _is_closed(f)]
    watch.say(f"{len(found)} studies, {len(open_ones)} unfinished")
    closed = True
    groups: dict[tuple[Any, ...], list[StudyFolder]] = {}
    for folder in open_ones:
        manifest = folder.manifest()
        where = data_dir or folder.local().get("data_dir")
        pack = manifest.backend.get("pack", 1)
        key = (manifest.task, manifest.model, where, manifest.workers, pack)
        groups.setdefault(key, []).append(folder)
    for (task, model, where, workers, pack), folders in groups.items():
        bench = Bench(BenchSpec(task, model, where), pack)
        force = Workforce(bench, workers, driver, root / "logs")
        try:
            closed &= _run_all(bench, folders, force, _top(folders[0]), watch)
        finally:
            force.close()
    return closed


def _top(folder: StudyFolder) -> Path:
    """Return the ``--out`` that a study was made under."""
    return folder.root.parents[2]


def _is_closed(folder: StudyFolder) -> bool:
    if not folder.events.exists():
        return False
    events = read(folder.events).events
    return bool(events) and events[-1].type == "closed"


def _run_all(
    bench: Bench, folders: Sequence[StudyFolder], force: Workforce, out: Path, watch: Watch
) -> bool:
    all_closed = True
    with watch, interruptible(watch) as interrupt:
        for folder in folders:
            if interrupt.asked:
                return False
            all_closed &= _run_one(bench, folder, force, out, watch, interrupt)
    return all_closed


def _run_one(
    bench: Bench,
    folder: StudyFolder,
    force: Workforce,
    out: Path,
    watch: Watch,
    interrupt: Interrupt,
) -> bool:
    manifest = folder.manifest()
    title = f"{manifest.strategy} seed {manifest.seed}"
    if _is_closed(folder):
        watch.say(f"{title}: done already")
        return True
    if manifest.signature != bench.task.signature():
        raise JournalError(
            f"{folder.root}: the study is of task signature {manifest.signature}, but "
            f"{manifest.task} has {bench.task.signature()} now: its data, templates or code "
            "changed; run it anew in another --out"
        )
    budget = Budget.parse(manifest.budget)
    watch.begin(title, budget.limit, budget.currency)
    executor = force.executor(folder.checkpoints)
    study = Study(
        folder=folder,
        strategy=load_strategy(manifest.strategy),
        problem=bench.problem(budget, manifest.workers, manifest.flop_per_s),
        executor=executor,
        oracle_cache=OracleCache(out / "oracle", manifest.signature),
        default=bench.task.references().default,
        watch=watch.event,
        stop=interrupt,
    )
    try:
        return study.run()
    except InputError:
        raise
    except KeyboardInterrupt:
        interrupt.asked = True
        return False
    except Exception as err:  # a plug-in may raise anything: its study fails, the others go on
        crash = folder.root / "crash.txt"
        crash.write_text("".join(traceback.format_exception(err)), encoding="utf-8")
        watch.say(f"{title}: failed: {err} (traceback in {crash}; resume goes on from there)")
        return False
    finally:
        executor.close()
