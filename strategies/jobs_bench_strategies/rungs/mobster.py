"""MOBSTER: asynchronous halving with a Gaussian process over configuration and rung."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench_strategies._acquire import maximise
from jobs_bench_strategies._engine import EngineName, engine_called
from jobs_bench_strategies._evidence import best_first
from jobs_bench_strategies._surrogate import LogEI
from jobs_bench_strategies.rungs._core import ranked
from jobs_bench_strategies.rungs._sampling import Pick, highest_rung, uniform
from jobs_bench_strategies.rungs.asha import Asha, Rule

_ANCHORS = 4


class JointGp:
    """Draws where a process over (configuration, step) expects to improve.

    Every score at every rung is data. The improvement is that at the highest rung with at least
    `enough` scores, on the best posterior mean there; trials in flight are believed (kriging
    believer) at the step they go to.

    Args:
        n_init: Scored trials before the model; uniform draws until then.
        enough: Scores that make a rung worth improving on.
        engine: What computes the process.
    """

    def __init__(self, n_init: int, enough: int, engine: EngineName) -> None:
        self.n_init = n_init
        self.enough = enough
        self._surrogate = engine_called(engine)

    def __call__(
        self, problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
    ) -> Pick | None:
        """Return the configuration of the highest expected improvement, uniform before that."""
        points: list[tuple[Configuration, int]] = []
        scores: list[float] = []
        for trial in ctx.history:
            for point in () if trial.failed else trial.points:
                if math.isfinite(point.score.mean):
                    points.append((trial.config, point.step))
                    scores.append(point.score.mean)
        if len({c for c, _ in points}) < self.n_init:
            return uniform(problem, ctx, taken, until)
        encoding = NativeEncoding(problem.space)
        model = self._surrogate(_rows(problem, encoding, points), np.asarray(scores), "steps",
                                encoding)  # fmt: skip
        top = highest_rung(problem, ctx.history, self.enough) or until
        configs = [t.config for t in ranked(ctx.history, top)] or [c for c, _ in points]
        at_top = _rows(problem, encoding, [(c, top) for c in configs])
        best = model.best_mean(at_top)
        flying = [(t.config, t.until) for t in ctx.history if t.until is not None]
        informed = model.believing(_rows(problem, encoding, flying))
        mean, _ = model.predict(at_top)
        found = maximise(
            informed.landscape(LogEI(best), encoding, (_place(problem, top),)),
            problem,
            ctx.torch_seed + len(taken),
            best_first(configs, mean)[:_ANCHORS],
            lambda c: c not in taken,
        )
        return uniform(problem, ctx, taken, until) if found is None else Pick(found)


class Mobster(Asha):
    """ASHA whose new configurations come from a Gaussian process over configuration and rung.

    Reference: Klein et al. 2020 (arXiv 2003.10865), section 3: one process over (x, r) with all
    scores of all rungs; expected improvement at the highest rung with enough data. Promotions are
    those of `Asha`. What differs: the covariance is this package's (a shared curve, a landscape and
    a deviation that fades towards the horizon) instead of the paper's exponential decay over r, and
    LogEI is used. Cost of an ask: about 20 ms at 60 scores, growing with their cube.

    Args:
        eta: One in `eta` trials goes on, above 1.
        min_rung: Lowest rung to use, from 0.
        rule: ``promotion`` or ``stopping``.
        n_init: Scored trials before the model, at least 2.
        enough: Scores at a rung that make it the one to improve on, at least 1.
        engine: What computes the process: ``native`` or ``botorch``.
    """

    info = StrategyInfo(
        "mobster",
        "ASHA with a Gaussian process over configuration and rung",
        needs=frozenset({"resume", "curves"}),
        reference="Klein et al. 2020, arXiv 2003.10865",
    )

    def __init__(
        self,
        *,
        eta: float = 3.0,
        min_rung: int = 0,
        rule: Rule = "promotion",
        n_init: int = 6,
        enough: int = 4,
        engine: EngineName = "native",
    ) -> None:
        if n_init < 2:
            raise OptionError(f"got n_init={n_init}; wanted at least 2")
        if enough < 1:
            raise OptionError(f"got enough={enough}; wanted at least 1")
        super().__init__(eta=eta, min_rung=min_rung, rule=rule)
        self.sampler = JointGp(n_init, enough, engine)


def _place(problem: Problem, step: int) -> float:
    """Return the log of the step, scaled to ``[0, 1]``."""
    low, high = math.log(problem.fidelity.lo), math.log(problem.fidelity.horizon)
    place = (math.log(step) - low) / (high - low) if high > low else 1.0
    return min(max(place, 0.0), 1.0)


def _rows(
    problem: Problem, encoding: NativeEncoding, points: Sequence[tuple[Configuration, int]]
) -> np.ndarray:
    """Return ``(n, d + 1)`` rows: the encoding, then the place of the step."""
    rows = encoding.encode_all([c for c, _ in points])
    t = np.asarray([_place(problem, s) for _, s in points]).reshape(-1, 1)
    return np.concatenate([rows, t], axis=1)
