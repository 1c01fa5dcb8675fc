"""TuRBO: Bayesian optimisation inside a trust region that grows and shrinks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Note, Outcome, Proposal, Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._evidence import BLAMED
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._observing import best_observed, default_config, finite_score
from jobs_bench_strategies._spending import Purse, end

LONGEST, FIRST, SHORTEST = 1.6, 0.8, 2.0**-7
_SUCCESSES = 3
_MOVED = 20  # coordinates of a candidate that move on the average
_JITTER = 1e-8


@dataclass(frozen=True, slots=True)
class Region:
    """A trust region after some trials.

    Attributes:
        length: Side in unit coordinates.
        begun: Number of the first trial of this region; earlier ones belong to given-up regions.
        restarts: Regions that were given up.
    """

    length: float = FIRST
    begun: int = 0
    restarts: int = 0


def region_after(scores: Sequence[float | None], n_init: int, failures: int) -> Region:
    """Return the region after full runs with these scores, ``None`` for a failed one.

    Eriksson et al.'s rules: the length doubles after three improvements in a row, halves after
    `failures` runs without one, and below `SHORTEST` the region is given up for a new one. An
    improvement exceeds the best by a thousandth of its size.

    Args:
        scores: In the order of the trials.
        n_init: Trials of a region's own design, which count for nothing.
        failures: Runs without improvement that halve the length, at least 1.
    """
    length, begun, restarts = FIRST, 0, 0
    best, wins, losses = -math.inf, 0, 0
    for i, score in enumerate(scores):
        inside = i - begun
        gain = score is not None and score > best + 1e-3 * abs(best if math.isfinite(best) else 0)
        if inside >= n_init:
            wins, losses = (wins + 1, 0) if gain else (0, losses + 1)
            if wins == _SUCCESSES:
                length, wins = min(2 * length, LONGEST), 0
            elif losses == failures:
                length, losses = length / 2, 0
        if score is not None:
            best = max(best, score)
        if length < SHORTEST:
            length, begun, restarts = FIRST, i + 1, restarts + 1
            best, wins, losses = -math.inf, 0, 0
    return Region(length, begun, restarts)


class Turbo:
    """Thompson sampling in a trust region around the best full run.

    Reference: Eriksson et al. 2019 (TuRBO-1), algorithm 1 and appendix: a Gaussian process on the
    region's own trials, candidates that move a random subset of the coordinates inside the region,
    the best of a joint posterior sample is run. What differs: the region is a box in the space's
    uniform unit coordinates (mixtures, integers, categories and subsets among them) with equal
    sides, not sides by lengthscale, since the process works in other coordinates; its state is
    recomputed from the history at each ask, so that nothing is kept. Of a pool, candidates inside
    the box are sampled, all of it where none is. Cost of an ask: tens of milliseconds.

    Args:
        n_init: Full runs of a region's design: the default recipe and Sobol points, at least 2.
        candidates: Points to sample the process at, at least 1.
        failures: Runs without improvement that halve the region; 0: the number of unit coordinates,
            at least 4.
    """

    info = StrategyInfo(
        "turbo",
        "Trust-region Bayesian optimisation with Thompson sampling",
        reference="Eriksson et al. 2019, NeurIPS, arXiv 1910.01739",
    )

    def __init__(self, *, n_init: int = 6, candidates: int = 256, failures: int = 0) -> None:
        if n_init < 2:
            raise OptionError(f"got n_init={n_init}; wanted at least 2")
        if candidates < 1:
            raise OptionError(f"got candidates={candidates}; wanted at least 1")
        if failures < 0:
            raise OptionError(f"got failures={failures}; wanted at least 1, or 0 for a default")
        self.n_init = n_init
        self.candidates = candidates
        self.failures = failures
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        self.problem = problem
        self.seen = History()
        self._encoding = NativeEncoding(problem.space)
        self._failures = self.failures or max(4, problem.space.n_unit)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` full runs."""
        purse = Purse(self.problem, ctx)
        horizon = self.problem.fidelity.horizon
        taken = _drawing.tried(ctx.history)
        seed = _drawing.sobol_seed(ctx)
        over = [t for t in ctx.history if t.status is not None and t.until is None]
        scores = [finite_score(t, horizon) for t in over]
        region = region_after(scores, self.n_init, self._failures)
        own = [(t, s) for t, s in zip(over[region.begun :], scores[region.begun :], strict=True)]
        work: list[Proposal] = []
        for _ in range(n):
            started = len(ctx.history) + len(work)
            config = self._propose(region, own, started, taken, seed, ctx.rng)
            if config is None or not purse.take(config, 0, horizon):
                break
            taken.add(config)
            note: Note = {_drawing.SOBOL_SEED: seed}
            work.append(Start(config, horizon, note))
        return work or [end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the best observed."""
        return best_observed(self.problem, self.seen)

    def _propose(
        self,
        region: Region,
        own: Sequence[tuple[TrialRecord, float | None]],
        started: int,
        taken: set[Configuration],
        seed: int,
        rng: np.random.Generator,
    ) -> Configuration | None:
        first = default_config(self.problem)
        scored = [(t, s) for t, s in own if s is not None]
        if started - region.begun < self.n_init or len(scored) < 2:
            if first not in taken:
                return first
            return _drawing.sobol(self.problem, seed, started, taken)
        centre = max(scored, key=lambda pair: (pair[1], -pair[0].trial_id))[0].config
        pool = self._around(centre, region.length, taken, rng)
        if not pool:
            return _drawing.draw(self.problem, rng, taken)
        blamed = [t.config for t, s in own if s is None and t.status in BLAMED]
        values = np.asarray([s for _, s in scored], dtype=np.float64)
        y = np.concatenate([values, np.full(len(blamed), values.min())])
        X = self._encoding.encode_all([*(t.config for t, _ in scored), *blamed])
        model = NativeSurrogate.fit(X, y, "product", self._encoding)
        rows = self._encoding.encode_all(pool)
        mean, _ = model.predict(rows)
        covariance = model.joint(rows) + _JITTER * np.eye(len(pool))
        eigenvalues, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(eigenvalues, 0, None))
        sample = mean + model.scale.sd * (root @ rng.standard_normal(len(pool)))
        return pool[int(sample.argmax())]

    def _around(
        self,
        centre: Configuration,
        length: float,
        taken: set[Configuration],
        rng: np.random.Generator,
    ) -> list[Configuration]:
        """Return different configurations inside the region that were not tried."""
        space = self.problem.space
        at = np.asarray(space.encode(centre))
        if self.problem.candidates is not None:
            left = _drawing.untried(self.problem, taken)
            if not left:
                return []
            units = np.asarray([space.encode(c) for c in left]).reshape(len(left), len(at))
            inside = [
                c for c, u in zip(left, units, strict=True) if np.abs(u - at).max() <= length / 2
            ]
            some = inside or left
            keep = rng.permutation(len(some))[: self.candidates]
            return [some[i] for i in keep]
        d = len(at)
        moved = rng.random((self.candidates, d)) < min(1.0, _MOVED / max(d, 1))
        none = ~moved.any(axis=1)
        if d:
            moved[none, rng.integers(0, d, size=int(none.sum()))] = True
        draws = at + length * (rng.random((self.candidates, d)) - 0.5)
        units = np.clip(np.where(moved, draws, at), 0.0, 1.0)
        found = dict.fromkeys(space.decode(u.tolist()) for u in units)
        return [c for c in found if c not in taken]
