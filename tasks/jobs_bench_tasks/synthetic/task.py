"""The synthetic family as a task."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from jobs_bench.budget import Charge
from jobs_bench.errors import InputError, OptionError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.axes import Float, Int, Subset
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.task.contract import (
    Evaluator,
    Metric,
    References,
    TaskInfo,
    TaskSetup,
    Workshop,
)
from jobs_bench.trial import Outcome, Point, Segment, Status, Value
from jobs_bench_tasks.synthetic.surface import Surface, uniform

VERSION = 1
STEPS = (2, 4, 8, 16, 32, 64)
ROWS = 10_000
STEP_FLOP = 1e9
STEP_TOK = 1_000
EVAL_SHARE = 0.2  # of a training step, for each evaluation
_FAILURES: tuple[Status, ...] = ("diverged", "oom", "timeout", "crashed")


class Synthetic:
    """An analytic problem whose optimum is known, made to try strategies on.

    The formulas stand in `surface`. A trial takes a fraction of a millisecond.

    Args:
        setup: From the runtime; needs neither a model nor data.
        domains: Of the mixture, at least 2.
        interaction: How strongly the best mixture depends on the configuration, at least 0.
        correlation: Of scores at the lowest of six rungs with those at the horizon, ``(0, 1]``.
        noise: Standard deviation over seeds, in those of the score over uniform draws, at least 0.
        cost_spread: How many times as much a step costs at the highest rank as at the lowest, at
            least 1.
        fail_share: Share of the space whose trials fail, ``[0, 1)``.
        instance: Number of the problem: another optimum, other directions.
    """

    default_model: str | None = None

    def __init__(
        self,
        setup: TaskSetup,
        *,
        domains: int = 5,
        interaction: float = 1.0,
        correlation: float = 0.8,
        noise: float = 0.05,
        cost_spread: float = 1.5,
        fail_share: float = 0.0,
        instance: int = 0,
    ) -> None:
        del setup
        if not 2 <= domains <= 128:
            raise OptionError(f"got domains={domains}; wanted 2 to 128")
        if not 0 < correlation <= 1:
            raise OptionError(f"got correlation={correlation}; wanted a number in (0, 1]")
        for name, value, low in (
            ("interaction", interaction, 0.0),
            ("noise", noise, 0.0),
            ("cost_spread", cost_spread, 1.0),
            ("instance", instance, 0),
        ):
            if not (math.isfinite(value) and value >= low):
                raise OptionError(f"got {name}={value}; wanted at least {low:g}")
        if not 0 <= fail_share < 1:
            raise OptionError(f"got fail_share={fail_share}; wanted a number in [0, 1)")
        self._dials = (domains, interaction, correlation, noise, cost_spread, fail_share, instance)
        self._cost_spread = cost_spread
        self._fail_share = fail_share
        self._space = _space(domains)
        self.surface = Surface(self._space, STEPS, interaction, correlation, noise, instance)

    @property
    def info(self) -> TaskInfo:
        """Return what is known of it."""
        metric = Metric("score", low=-math.inf, high=0.0)
        return TaskInfo(
            name="synthetic",
            summary="Analytic curves with a planted joint optimum and dials",
            metric=metric,
            metrics=(metric,),
            domains=tuple((d, ROWS) for d in self._space.simplexes[0].domains),
            licence="none needed",
            tags=("synthetic",),
            capabilities=frozenset({"resume", "curves"}),
        )

    def space(self) -> Space:
        """Return the search space."""
        return self._space

    def fidelity(self) -> Fidelity:
        """Return six rungs, a factor of 2 apart."""
        return Fidelity(STEPS)

    def cost(self, config: Configuration, start: int, until: int) -> tuple[Charge, ...]:
        """Return the charges of a segment."""
        steps = until - start
        evals = sum(start < s <= until for s in STEPS)
        factor = self._step_cost(config)
        return (
            Charge("train", round(STEP_TOK * steps), STEP_FLOP * factor * steps),
            Charge("eval", round(EVAL_SHARE * STEP_TOK * evals), EVAL_SHARE * STEP_FLOP * evals),
        )

    def candidates(self) -> tuple[Configuration, ...] | None:
        """Return ``None``: the space is open."""
        return None

    def references(self) -> References:
        """Return the known optimum and the noise that was dialled."""
        noise = self.surface.noise_sd
        return References(self._space.default(), best_known=0.0, noise_floor=noise)

    def signature(self) -> str:
        """Return a hash of the dials and the version of the formulas."""
        return hashlib.sha256(f"synthetic/{VERSION}/{self._dials}".encode()).hexdigest()[:16]

    def evaluator(self, workshop: Workshop) -> Evaluator:
        """Return a new evaluator; it keeps nothing."""
        del workshop
        return _Evaluator(self)

    def status(self, config: Configuration) -> Status:
        """Return how trials of `config` end: failing is a matter of the configuration."""
        key = config.key()
        if uniform("fail", self._dials, key) >= self._fail_share:
            return "ok"
        return _FAILURES[int(len(_FAILURES) * uniform("kind", self._dials, key))]

    def _step_cost(self, config: Configuration) -> float:
        rank = self._space.axis("r").encode(config["r"])[0]
        return float(self._cost_spread**rank)


class _Evaluator:
    def __init__(self, task: Synthetic) -> None:
        self._task = task

    def run(self, segments: Sequence[Segment]) -> Sequence[Outcome]:
        return [self._run(s) for s in segments]

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> Sequence[Outcome]:
        """Return noise-free scores; the base model scores what the worst trial would."""
        surface = self._task.surface
        found = []
        for seed in seeds if config is not None else seeds[:1]:
            known = self._task.space().default() if config is None else config
            until = 0 if config is None else STEPS[-1]
            score = surface.score(known, STEPS[0]) if config is None else surface.limit(known)
            segment = Segment(0, known, 0, until, seed)
            charges = () if config is None else self._task.cost(known, 0, until)
            found.append(Outcome(segment, "ok", (Point(until, Value(score, 0.0, 1)),), charges))
        return found

    def discard(self, trial_id: int) -> None:
        """Drop nothing: a segment starts from its step alone."""

    def close(self) -> None:
        """Release nothing."""

    def _run(self, segment: Segment) -> Outcome:
        task = self._task
        try:
            task.space().check(segment.config)
        except InputError as err:
            return Outcome(segment, "diverged", (), (), str(err))
        status = task.status(segment.config)
        steps = [s for s in STEPS if segment.start < s <= segment.until]
        if status != "ok":
            steps = steps[:-1]
        sd = task.surface.noise_sd
        scores = task.surface.noisy(segment.config, steps, segment.seed)
        points = tuple(Point(s, Value(x, sd, 1)) for s, x in zip(steps, scores, strict=True))
        charges = task.cost(segment.config, segment.start, segment.until)
        error = "" if status == "ok" else f"trials of this configuration end {status}"
        return Outcome(segment, status, points, charges, error)


def _space(domains: int) -> Space:
    return Space(
        (
            Simplex("mixture", tuple(f"d{i}" for i in range(domains))),
            Int("r", 1, 256, log=True, default=16),
            Float("scaling", 0.25, 8.0, log=True, default=2.0),
            Float("lora_dropout", 0.0, 0.2, default=0.0),
            Subset("target_modules", ("attention", "mlp"), default=("attention", "mlp")),
            Int("num_layers", 1, 24, default=24),
            Float("learning_rate", 1e-5, 5e-3, log=True, default=2e-4, block="train"),
        )
    )
