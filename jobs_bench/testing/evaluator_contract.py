"""The part of the tasks' conformance kit that runs segments: `check_evaluator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import get_args

from jobs_bench.budget import CATEGORIES, Charge
from jobs_bench.task.contract import Evaluator, Task, TaskInfo
from jobs_bench.trial import Outcome, Point, Segment, Status

MakeEvaluator = Callable[[Task], Evaluator]

ABSURD_RATE = 1e18


def check_evaluator(task: Task, evaluator: MakeEvaluator) -> None:
    """Run every check on evaluators of `task`.

    Args:
        task: With few questions: three full runs are made.
        evaluator: Returns a new evaluator, each with checkpoints of its own.

    Raises:
        AssertionError: The evaluator broke its contract; the message says where.
    """
    check_segments(task, evaluator)
    check_oracle(task, evaluator)
    check_failures(task, evaluator)


def check_segments(task: Task, evaluator: MakeEvaluator) -> None:
    """Assert that outcomes have the points and charges they should, nested runs the same points."""
    default, steps = task.references().default, task.fidelity().steps
    until = steps[min(1, len(steps) - 1)]
    whole = Segment(0, default, 0, until, 11)
    with closing(evaluator(task)) as runs:
        straight = _run(runs, task, whole)
        if "resume" in task.info.capabilities and until > steps[0]:
            first = _run(runs, task, Segment(1, default, 0, steps[0], 11))
            second = _run(runs, task, Segment(1, default, steps[0], until, 11))
            if task.info.deterministic:
                nested = (*first.points, *second.points)
                assert nested == straight.points, (
                    f"cut at {steps[0]}, got\n{nested}\nwanted, as without a cut,\n"
                    f"{straight.points}"
                )
        if "fork" in task.info.capabilities and until > steps[0]:
            _run(runs, task, Segment(2, default, 0, steps[0], 11))
            child = _run(runs, task, Segment(3, default, steps[0], until, 12, parent=2))
            assert child.status == "ok", f"a fork ended {child.status}: {child.error}"
        if "merge" in task.info.capabilities:
            merge = ((0, 0.5), (4, 0.5))
            _run(runs, task, Segment(4, default, 0, until, 13))
            merged = _run(runs, task, Segment(5, default, until, until, 14, merge=merge))
            spent = [c.category for c in merged.charges if c.flop or c.tok]
            assert spent == ["eval"], f"a merged trial was charged {merged.charges}"
        runs.discard(0)
        runs.discard(1 << 20)  # never run: nothing to drop


def check_oracle(task: Task, evaluator: MakeEvaluator) -> None:
    """Assert that the oracle scores the untrained model and full runs, the same for a seed."""
    default, horizon = task.references().default, task.fidelity().horizon
    with closing(evaluator(task)) as runs:
        (base,) = runs.oracle(None, [0])
        assert [p.step for p in base.points] == [0], f"the base model has points {base.points}"
        _check_scores(base.points[0], task.info, "the base model")
        first, other = runs.oracle(default, [3, 4])
        (again,) = runs.oracle(default, [3])
    for seed, outcome in ((3, first), (4, other), (3, again)):
        assert outcome.status == "ok", f"the oracle ended {outcome.status}: {outcome.error}"
        assert outcome.segment.seed == seed, f"got seed {outcome.segment.seed}; wanted {seed}"
        assert outcome.final is not None, "an oracle run without a point"
        assert outcome.final.step == horizon, f"got {outcome.final.step} steps; wanted {horizon}"
    if task.info.deterministic:
        assert first.points == again.points, f"seed 3 twice: {first.points}, then {again.points}"


def check_failures(task: Task, evaluator: MakeEvaluator) -> None:
    """Assert that a failure is an outcome: no checkpoint, an absurd learning rate."""
    default, steps = task.references().default, task.fidelity().steps
    broken: list[Segment] = []
    if "resume" in task.info.capabilities and len(steps) > 1:
        broken.append(Segment(77, default, steps[0], steps[1], 5))
    if "learning_rate" in default:
        absurd = default.with_({"learning_rate": ABSURD_RATE})
        broken.append(Segment(78, absurd, 0, steps[0], 5))
    with closing(evaluator(task)) as runs:
        for outcome, segment in zip(runs.run(broken), broken, strict=True):
            assert outcome.segment == segment, f"got {outcome.segment}; wanted {segment}"
            assert outcome.status in get_args(Status), f"got the status {outcome.status!r}"
            assert outcome.error or outcome.status == "ok", f"{outcome.status} without a reason"
        after = _run(runs, task, Segment(79, default, 0, steps[0], 5))
        assert after.status == "ok", f"after failures: {after.status}: {after.error}"


def check_charges(charges: Sequence[Charge], where: str) -> float:
    """Assert that charges are finite, of known categories, and not nothing; return the FLOPs."""
    categories = [c.category for c in charges]
    assert set(categories) <= set(CATEGORIES), f"{where}: got the categories {categories}"
    assert len(set(categories)) == len(categories), f"{where}: {categories}; wanted each once"
    for charge in charges:
        for value in (charge.tok, charge.flop, charge.s):
            assert math.isfinite(value), f"{where}: {charge} is not finite"
            assert value >= 0, f"{where}: {charge} is below 0"
    flop = math.fsum(c.flop for c in charges)
    assert flop > 0, f"{where}: got {flop} FLOPs; wanted more than 0"
    return flop


def _run(runs: Evaluator, task: Task, segment: Segment) -> Outcome:
    """Run a segment that should succeed and check its outcome."""
    (outcome,) = runs.run([segment])
    where = f"trial {segment.trial_id}, {segment.start} to {segment.until}"
    assert outcome.segment == segment, f"{where}: the outcome is of {outcome.segment}"
    assert outcome.status == "ok", f"{where}: {outcome.status}: {outcome.error}"
    wanted = [s for s in task.fidelity().steps if segment.start < s <= segment.until]
    wanted = [segment.until] if segment.merge else wanted
    got = [p.step for p in outcome.points]
    assert got == wanted, f"{where}: got points at {got}; wanted {wanted}"
    for point in outcome.points:
        _check_scores(point, task.info, where)
        told = bool(point.domain_losses) or "domain_losses" not in task.info.capabilities
        assert told, f"{where}: no domain losses, which the task says it gives"
    check_charges(outcome.charges, where)
    return outcome


def _check_scores(point: Point, info: TaskInfo, where: str) -> None:
    where = f"{where}, step {point.step}"
    metric, score = info.metric, point.score
    low, high = metric.score_bounds
    assert math.isfinite(score.mean), f"{where}: got the score {score.mean}"
    assert low <= score.mean <= high, f"{where}: {score.mean} is outside [{low}, {high}]"
    known = {m.name for m in info.metrics}
    assert set(point.metrics) <= known, f"{where}: {set(point.metrics)}; info has {known}"
    if metric.name in point.metrics:
        raw = point.metrics[metric.name].mean
        wanted = raw if metric.higher_is_better else -raw
        assert score.mean == wanted, f"{where}: {metric.name} is {raw}, the score {score.mean}"
    domains = {name for name, _ in info.domains}
    losses = point.domain_losses
    assert set(losses) <= domains, f"{where}: losses of {set(losses)}; domains: {domains}"
    assert all(math.isfinite(v) for v in losses.values()), f"{where}: losses {losses}"
    shares = point.shares
    assert set(shares) <= domains, f"{where}: shares of {set(shares)}; domains: {domains}"
    assert not shares or abs(math.fsum(shares.values()) - 1) < 1e-9, f"{where}: shares {shares}"
