"""Puts the parts together: model, task, strategy, problem, executor."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jobs_bench.assets.models import resolve
from jobs_bench.budget import Budget, Ledger
from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.registry.loading import default_model, load_task
from jobs_bench.runner.executor import Executor, InlineExecutor
from jobs_bench.runner.local import LocalExecutor, WorkerPool
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem, Strategy
from jobs_bench.task.contract import CanWarm, Evaluator, HasTexts, ModelFacts, Task, TaskSetup
from jobs_bench.task.finetune import FineTune
from jobs_bench.trial import Segment

logger = logging.getLogger(__name__)

COSTS: Final = 1 << 16
"""Expected costs that are remembered, of segments."""

PROBE_TRIAL = 1 << 30
"""Number of the trial that measures speed, far from any study's."""


@dataclass(frozen=True, slots=True)
class BenchSpec:
    """What a task is built from, in JSON.

    Attributes:
        task: Task spec.
        model: Model name, ``None``: the task's default.
        data_dir: Folder with data sets.
    """

    task: str
    model: str | None = None
    data_dir: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BenchSpec:
        """Return the spec that `to_json` gave."""
        return cls(data["task"], data["model"], data["data_dir"])


class Bench:
    """A task on a model, ready to be studied.

    Args:
        spec: Which.
        pack: Trials that share a pass, at most; ``None``: as the memory allows.

    Raises:
        InputError: The task or model is unknown, or its data are missing.
    """

    def __init__(self, spec: BenchSpec, pack: int | None = 1) -> None:
        self.spec = spec
        self.pack = pack
        name = spec.model or default_model(spec.task)
        self.facts: ModelFacts | None = None if name is None else resolve(name)
        data_dir = None if spec.data_dir is None else Path(spec.data_dir)
        self.task: Task = load_task(spec.task, TaskSetup(self.facts, data_dir))
        self._loaded: dict[str, Any] = {}

    @property
    def model_name(self) -> str | None:
        """Return the name of the base model."""
        return None if self.facts is None else self.facts.name

    def evaluator(self, workdir: Path) -> Evaluator:
        """Return an evaluator whose checkpoints go to `workdir`."""
        return self.task.evaluator(_Workshop(workdir, self.facts, self._loaded, self.pack))

    def warm(self) -> None:
        """Load what every trial needs, for the evaluators to come."""
        with tempfile.TemporaryDirectory() as nowhere:
            evaluator = self.evaluator(Path(nowhere))
            if isinstance(evaluator, CanWarm):
                evaluator.warm(self.task.references().default)

    def full_run_flop(self) -> float:
        """Return the FLOPs of one full run of the default recipe, the unit of ``x``."""
        default = self.task.references().default
        charges = self.task.cost(default, 0, self.task.fidelity().horizon)
        return Ledger(1.0).convert(charges, "flop")

    def problem(self, budget: Budget, workers: int, flop_per_s: float | None = None) -> Problem:
        """Return what strategies are told.

        Args:
            budget: The total.
            workers: Segments that may run at the same time.
            flop_per_s: Speed of this machine, from `measure_speed`; wanted for a budget in seconds.
        """
        task, info = self.task, self.task.info
        ledger = Ledger(self.full_run_flop())
        if budget.currency == "s" and flop_per_s is None:
            raise OptionError(f"got the budget {budget} without a measured speed")

        # strategies ask for the same costs at every ask, for every candidate of a pool
        @lru_cache(maxsize=COSTS)
        def cost(config: Configuration, start: int, until: int) -> float:
            charges = task.cost(config, start, until)
            if budget.currency == "s" and flop_per_s is not None:
                return ledger.convert(charges, "flop") / flop_per_s
            return ledger.convert(charges, budget.currency)

        return Problem(
            space=task.space(),
            fidelity=task.fidelity(),
            budget=budget,
            cost=cost,
            default=task.references().default,
            metric=info.metric.name,
            score_bounds=info.metric.score_bounds,
            domains=info.domains,
            candidates=task.candidates(),
            capabilities=info.capabilities,
            workers=workers,
            parts=info.parts,
            texts=task.texts if isinstance(task, HasTexts) else None,
        )

    def measure_speed(self, executor: Executor) -> float:
        """Return FLOPs a second of one worker, from the shortest segment of the default recipe.

        It is run twice and only the second time counts: the first one loads the model.
        """
        default, until = self.task.references().default, self.task.fidelity().lo
        speed = 0.0
        for trial_id in (PROBE_TRIAL, PROBE_TRIAL + 1):
            segment = Segment(trial_id, default, 0, until, seed=0)
            executor.launch([segment])
            outcome = executor.wait(segment)
            executor.discard(trial_id)
            seconds = sum(c.s for c in outcome.charges)
            if outcome.status != "ok" or seconds <= 0:
                raise OptionError(
                    f"a budget in seconds needs a measured speed, but the probe ended "
                    f"{outcome.status}: {outcome.error}"
                )
            speed = sum(c.flop for c in outcome.charges) / seconds
        return speed


class _Workshop:
    """The runtime as a task sees it; models and texts are loaded once for all evaluators."""

    def __init__(
        self, workdir: Path, facts: ModelFacts | None, loaded: dict[str, Any], pack: int | None
    ) -> None:
        self._workdir = workdir
        self._pack = pack
        self._facts = facts
        self._loaded = loaded

    @property
    def workdir(self) -> Path:
        """Return the folder for checkpoints."""
        return self._workdir

    def finetune(self, spec: FineTune) -> Evaluator:
        """Return the shared evaluator."""
        from jobs_bench.evaluator.finetune import FineTuneEvaluator  # torch, only when needed

        if self._facts is None:
            raise OptionError("this task fine-tunes a model; name one with --model")
        before = self._loaded.get(spec.model_path)
        stock = None if before is None else before.serving(spec)
        evaluator = FineTuneEvaluator(
            spec, self._facts, self._workdir, pack=self._pack, stock=stock
        )
        evaluator.stock.load()  # now: a model that is missing is told at once
        self._loaded[spec.model_path] = evaluator.stock
        return evaluator


def check_needs(strategy: Strategy, problem: Problem) -> None:
    """Refuse a strategy that needs what the task cannot give.

    Raises:
        CapabilityError: Before anything is spent.
    """
    lacking = sorted(strategy.info.needs - problem.capabilities)
    if lacking:
        raise CapabilityError(
            f"strategy {strategy.info.name} needs {', '.join(lacking)}; the task gives "
            f"{', '.join(sorted(problem.capabilities)) or 'nothing'}"
        )


SMALL_MODEL = 20_000_000
"""Parameters below which a second thread costs more than it gives (measured on two cores)."""


def threads_for(bench: Bench, workers: int) -> int:
    """Return the torch threads of a worker: one for small models, else its share of cores."""
    if bench.facts is None or bench.facts.n_params < SMALL_MODEL:
        return 1
    return max(1, (os.cpu_count() or 1) // workers)


def pack_of(text: str) -> int | None:
    """Return the size of packs from an option: a number from 1 on, ``None`` for ``auto``.

    Raises:
        OptionError: It is neither.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise OptionError(f"got --pack {text}; wanted a number from 1 on, or auto")
    return int(text)


def processes_for(workers: int, pack: int | None) -> int:
    """Return the processes that run `workers` segments at a time in packs of `pack`."""
    return 1 if pack is None else -(-workers // pack)


class Workforce:
    """Whoever runs the segments of a run's studies: this process, or a pool of workers.

    With packs, a process takes several segments at a time, so fewer processes are needed.
    """

    def __init__(self, bench: Bench, workers: int, driver: str, logs: Path) -> None:
        self._bench = bench
        processes = processes_for(workers, bench.pack)
        self.threads = threads_for(bench, processes)
        local = driver == "local" or (driver == "auto" and processes > 1)
        pack = bench.pack or workers
        self._pool = _pool(bench, processes, pack, self.threads, logs) if local else None
        if not local:
            import torch  # only now: listing commands do without

            torch.set_num_threads(self.threads)

    def executor(self, workdir: Path) -> Executor:
        """Return the executor of one study."""
        if self._pool is None:
            return InlineExecutor(self._bench.evaluator(workdir))
        return LocalExecutor(self._pool, workdir)

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()


def _pool(bench: Bench, processes: int, pack: int, threads: int, logs: Path) -> WorkerPool:
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    python = [sys.executable, "-P", "-m"]
    hello = {"bench": bench.spec.to_json(), "threads": threads, "pack": bench.pack}
    why_alone = fork_hindrance()
    if why_alone:
        logger.debug("workers are started each by itself: %s", why_alone)
    return WorkerPool(
        [*python, "jobs_bench.cli.worker"],
        hello,
        processes,
        logs,
        env=env,
        pack=pack,
        template=None if why_alone else [*python, "jobs_bench.cli.template"],
    )


def fork_hindrance() -> str:
    """Return why workers cannot be forked on this machine, empty where they can: the one rule.

    CUDA does not survive a fork, nor do other systems' libraries; and only Linux ends workers with
    their template.
    """
    if sys.platform != "linux":
        return f"on {sys.platform} a process that has loaded its libraries cannot be forked"
    import torch  # only now: listing commands do without

    return "a CUDA device cannot be used after a fork" if torch.cuda.is_available() else ""
