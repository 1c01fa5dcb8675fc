"""The task that replays a table: pool or surrogate behind the same contract."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from jobs_bench.budget import Charge
from jobs_bench.errors import OptionError
from jobs_bench.fidelity import Capability, Fidelity
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.table.curves import Replay, RunCost
from jobs_bench.table.pool import Pool
from jobs_bench.table.surrogate import Surrogate
from jobs_bench.table.table import Table
from jobs_bench.task.contract import References, TaskInfo
from jobs_bench.trial import Outcome, Point, Segment, Value

Kind = Literal["pool", "surrogate"]


class TableTask:
    """Replays one target of a table; it meets the `Task` contract.

    Args:
        table: Valid.
        target: Name of the target, empty where there is one only.
        kind: ``pool``: the recorded configurations; ``surrogate``: any of the space.
        part: Part of the configurations, or ``all``.
        surrogate: The fitted surrogate, for that kind.

    Raises:
        InputError: No such target or part, or a surrogate that is not good enough.
    """

    def __init__(
        self,
        table: Table,
        target: str = "",
        kind: Kind = "pool",
        part: str = "all",
        surrogate: Surrogate | None = None,
    ) -> None:
        header = table.header
        self._table = table
        self._target = header.target(target)
        self._kind = kind
        self._part = part
        self._fidelity = Fidelity(self._target.steps or header.fidelity.steps, header.fidelity.unit)
        if kind == "surrogate" and surrogate is None:
            raise OptionError(f"table {header.name} has no fitted surrogate: run `table fit` on it")
        self.replay: Replay = Pool(table, self._target, part) if surrogate is None else surrogate
        capabilities: set[Capability] = {"resume", "curves"}
        if header.domains and all(f"loss.{d}" in table.points for d, _ in header.domains):
            capabilities.add("domain_losses")
        oracle = header.metric(self._target.oracle or self._target.metric)
        self._info = TaskInfo(
            name="table",
            summary=f"{header.summary} Target {self._target.name}, {kind}, part {part}.",
            metric=header.task_metric(self._target, self._short(self._target.metric)),
            metrics=tuple(header.task_metric(self._target, s) for s in self._target.metrics),
            domains=header.domains,
            items=(header.metric(self._target.metric).items, oracle.items),
            licence=header.licence,
            reference=header.reference,
            tags=("table", kind, f"part={part}"),
            capabilities=frozenset(capabilities),
            parts=self._parts(),
        )
        self.cost_of = lru_cache(maxsize=1 << 14)(self.replay.cost)

    @property
    def full_run_s(self) -> float:
        """Return the seconds of a full run of the default recipe."""
        return self._table.header.full_run_s

    @property
    def info(self) -> TaskInfo:
        """Return what is known of it."""
        return self._info

    def space(self) -> Space:
        """Return the search space."""
        return self._table.header.space

    def fidelity(self) -> Fidelity:
        """Return the steps at which trials can stand."""
        return self._fidelity

    def cost(self, config: Configuration, start: int, until: int) -> tuple[Charge, ...]:
        """Return the charges of a segment, evaluations included; exact, so they are charged."""
        cost: RunCost = self.cost_of(config)
        share = (until - start) / self._fidelity.horizon
        train = Charge("train", round(cost.train_tok * share), cost.train_flop * share)
        n = sum(start < step <= until for step in self._fidelity.steps)
        if not cost.eval_flop:
            return (train,)
        return (train, Charge("eval", round(cost.eval_tok * n), cost.eval_flop * n))

    def candidates(self) -> tuple[Configuration, ...] | None:
        """Return the pool, ``None`` for a surrogate."""
        return self.replay.candidates

    def references(self) -> References:
        """Return the default recipe: on a pool the recorded configuration nearest to it."""
        return References(default=self.replay.default)

    def signature(self) -> str:
        """Return a hash of the table's content, the target, the kind and the part."""
        return "/".join((self._table.signature, self._target.name, self._kind, self._part))

    def evaluator(self, workshop: object) -> TableEvaluator:
        """Return a new evaluator; it needs nothing of the runtime."""
        del workshop
        return TableEvaluator(self, self._table.header.base.get(self._target.name))

    def _parts(self) -> tuple[tuple[str, float], ...]:
        """Return the weights of the score's parts; a surrogate's metrics are fitted one by one."""
        if self._kind == "surrogate":
            return ()
        higher = self._table.header.metric(self._target.metric).higher_is_better
        return tuple((p, w if higher else -w) for p, w in self._target.parts.items())

    def _short(self, column: str) -> str:
        return next(s for s, c in self._target.metrics.items() if c == column)


class TableEvaluator:
    """Replays segments in microseconds. It keeps no checkpoints: a trial is its seed."""

    def __init__(self, task: TableTask, base: float | None) -> None:
        self._task = task
        self._base = base
        self._sign = 1.0 if task.info.metric.higher_is_better else -1.0

    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        """Return one outcome a segment, in order."""
        return [self._run(segment) for segment in segments]

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> list[Outcome]:
        """Return the oracle score, one outcome a seed; all seeds get the same expectation."""
        horizon = self._task.fidelity().horizon
        if config is None:
            return [self._untrained()]
        value = self._task.replay.oracle(config)
        found = []
        for seed in seeds:
            segment = Segment(0, config, 0, horizon, seed)
            charges = self._task.cost(config, 0, horizon)
            if value is None:
                error = "the table cannot tell the score of this configuration"
                found.append(Outcome(segment, "crashed", (), charges, error))
            else:
                found.append(Outcome(segment, "ok", (Point(horizon, value),), charges))
        return found

    def discard(self, trial_id: int) -> None:
        """Drop nothing: there are no checkpoints."""
        del trial_id

    def close(self) -> None:
        """Hold nothing."""

    def _untrained(self) -> Outcome:
        segment = Segment(0, Configuration(), 0, 0, 0)
        charges = (Charge("eval", 1, 1.0),)
        if self._base is None:
            error = "the table has no score of the untrained model"
            return Outcome(segment, "crashed", (), charges, error)
        return Outcome(segment, "ok", (Point(0, Value(self._sign * self._base)),), charges)

    def _run(self, segment: Segment) -> Outcome:
        task = self._task
        charges = task.cost(segment.config, segment.start, segment.until)
        if segment.parent is not None:
            error = "a table holds no forks"
            return Outcome(segment, "crashed", (), charges, error)
        curve = task.replay.curve(segment.config, segment.seed)
        steps = [s for s in task.fidelity().steps if segment.start < s <= segment.until]
        points = tuple(curve.points[s] for s in steps if s in curve.points)
        if len(points) == len(steps):
            return Outcome(segment, "ok", points, charges)
        lacking = [s for s in steps if s not in curve.points]
        status = "crashed" if curve.status == "ok" else curve.status
        error = curve.error or f"the table has no point at step {lacking[0]}"
        return Outcome(segment, status, points, charges, error)
