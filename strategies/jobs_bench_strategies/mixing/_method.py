"""Methods of proxy runs: many mixtures trained briefly, one proposal, and a full run of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Proposal, Resume, Start, Wait
from jobs_bench_strategies._drawing import nearest, tried, untried
from jobs_bench_strategies._observing import Observing, best_observed, finite_score
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies.mixing._swarm import prior_of, realised, swarm

_SEED = "swarm_seed"
PHASE = "phase"
FEWEST = 4
"""Proxy runs that a fit needs at least."""
_READY = 0.95  # share of the proxies that must be over before the law is fitted


class ProxyMethod(Observing, ABC):
    """What methods of proxy runs share; everything but the mixture stays at the default recipe.

    The budget, less one full run, goes into proxy runs of the same model that stop at a share
    `short` of the horizon; every one of them is charged. When all are over a mixture is derived
    from them and trained in full, if the budget still pays for it.

    Args:
        n_proxies: Proxy runs, 0 for as many as the budget pays for.
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
    """

    info: StrategyInfo
    fewest: ClassVar[int] = FEWEST

    def __init__(self, n_proxies: int, short: float) -> None:
        if n_proxies and n_proxies < FEWEST:
            raise OptionError(f"got n_proxies={n_proxies}; wanted at least {FEWEST}, or 0")
        if not 0 < short <= 1:
            raise OptionError(f"got short={short}; wanted a share in (0, 1]")
        super().__init__()
        self.n_proxies = n_proxies
        self.short = short

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The space has no mixture, or several.
            OptionError: The budget does not pay for the proxies.
        """
        super().setup(problem)
        self._simplex = the_mixture(self.info.name, problem)
        self._prior = prior_of(self._simplex, dict(problem.domains))
        self._until = problem.fidelity.snap(self.short * problem.fidelity.horizon)
        cost = problem.cost(problem.default, 0, self._until)
        affordable = int((problem.budget.limit - problem.full_cost()) / cost + 1e-9)
        if max(self.n_proxies, self.fewest) > affordable:
            raise OptionError(
                f"got n_proxies={self.n_proxies or self.fewest}; wanted at most the {affordable} "
                f"runs to step {self._until} that {problem.budget} pays for beside one full run"
            )
        self._n = self.n_proxies or affordable
        self._told = -1
        self._proposal: np.ndarray | None = None

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return proxy runs, then the full run of the proposed mixture."""
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        proxies = [t for t in ctx.history if phase_of(t) == "proxy"]
        if len(proxies) < self._n:
            return self._proxies(min(n, self._n - len(proxies)), ctx, purse, taken)
        if any(t.until is not None for t in ctx.history):
            return [Wait()]
        mixture = self._propose()
        if mixture is None or any(phase_of(t) == "full" for t in ctx.history):
            return [end(ctx)]
        return [self._full_run(self._config(mixture), ctx, purse) or end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the proposed mixture, the best observed one before there is a law."""
        mixture = self._propose()
        if mixture is None:
            return best_observed(self.problem, self.seen)
        config = self._config(mixture)
        full = next((t for t in self.seen if t.config == config and not t.merge), None)
        score = None if full is None else finite_score(full, self.problem.fidelity.horizon)
        n = len(self._usable())
        return Recommendation(
            config,
            score,
            reason=f"the mixture that {self.info.name} derives from {n} proxy runs",
            trial_id=None if full is None else full.trial_id,
        )

    @abstractmethod
    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the best mixture, ``(k,)``, by runs with a finite score at the proxy step."""

    def mixtures(self, seed: int) -> np.ndarray:
        """Return the mixtures of the proxy runs, ``(n, k)``; here a swarm around the prior."""
        return swarm(self._simplex, self._prior, self._n, np.random.default_rng(seed))

    def _full_run(self, config: Configuration, ctx: AskContext, purse: Purse) -> Proposal | None:
        """Return how to take `config` to the horizon: on from its proxy run, where it has one."""
        horizon = self.problem.fidelity.horizon
        proxy = next((t for t in ctx.history if t.config == config and not t.merge), None)
        if proxy is None:
            affordable = purse.take(config, 0, horizon)
            return Start(config, horizon, {PHASE: "full"}) if affordable else None
        resumable = "resume" in self.problem.capabilities and proxy.ok and not proxy.retired
        if proxy.step == horizon or not resumable:
            return None
        return Resume(proxy.trial_id, horizon) if purse.take(config, proxy.step, horizon) else None

    def _proxies(
        self, n: int, ctx: AskContext, purse: Purse, taken: set[Configuration]
    ) -> Sequence[Proposal]:
        seed = next(
            (t.notes[0][_SEED] for t in ctx.history if t.notes and _SEED in t.notes[0]),
            ctx.torch_seed % 2**31,
        )
        assert isinstance(seed, int)
        points = self.mixtures(seed)
        work: list[Proposal] = []
        for mixture in points[len(ctx.history) : len(ctx.history) + n]:
            config = self._config(mixture)
            if self.problem.candidates is not None and config in taken:
                left = untried(self.problem, taken)
                if not left:
                    break
                config = nearest(self.problem.space, config, left)
            if not purse.take(config, 0, self._until):
                break
            taken.add(config)
            work.append(Start(config, self._until, {PHASE: "proxy", _SEED: seed}))
        return work or [end(ctx)]

    def _usable(self) -> list[TrialRecord]:
        """Return the proxies with a finite score at their last step, in order of their numbers.

        Not the full run, which comes last: what it adds must not move the mixture that it was
        trained with.
        """
        proxies = sorted(self.seen, key=lambda t: t.trial_id)[: self._n]
        return [t for t in proxies if finite_score(t, self._until) is not None]

    def weights(self, trials: Sequence[TrialRecord]) -> np.ndarray:
        """Return the mixtures of `trials`, ``(n, k)``."""
        rows = [shares(t.config, self._simplex) for t in trials]
        return np.reshape(
            np.asarray(rows, dtype=np.float64), (len(rows), len(self._simplex.domains))
        )

    def losses(self, trials: Sequence[TrialRecord]) -> np.ndarray:
        """Return their negative scores at the proxy step, ``(n,)``."""
        return np.asarray([-(t.score_at(self._until) or 0.0) for t in trials])

    def _propose(self) -> np.ndarray | None:
        """Return the proposed mixture, ``None`` before most proxies are over; one fit a tell."""
        done = sum(t.status is not None for t in self.seen)
        if self._told != done:
            usable = self._usable()
            self._told = done
            self._proposal = None
            if len(usable) >= self.fewest and done >= _READY * self._n:
                self._proposal = realised(self._simplex, self.derive(usable))
        return self._proposal

    def _config(self, mixture: np.ndarray) -> Configuration:
        found = with_mixture(self.problem, self._simplex, mixture)
        pool = self.problem.candidates
        return found if pool is None else nearest(self.problem.space, found, pool)


class SwarmMethod(ProxyMethod):
    """A law of one loss, fitted to a swarm of mixtures."""

    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the best mixture by the law."""
        return self.fit(self.weights(proxies), self.losses(proxies))

    @abstractmethod
    def fit(self, weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Return the best mixture, ``(k,)``, by ``(n, k)`` weights and ``(n,)`` losses."""


def shares(config: Configuration, simplex: Simplex) -> list[float]:
    """Return the mixture of `config` as ``(k,)`` weights."""
    mixture = config[simplex.name]
    assert isinstance(mixture, Mixture)  # the space checked it
    return [mixture[d] for d in simplex.domains]


def the_mixture(name: str, problem: Problem) -> Simplex:
    """Return the only mixture axis.

    Raises:
        CapabilityError: There is none, or there are several.
    """
    found = problem.space.simplexes
    if len(found) != 1:
        raise CapabilityError(
            f"{name} needs a space with one mixture; this one has {len(found)} among "
            + ", ".join(problem.space.names)
        )
    return found[0]


def with_mixture(problem: Problem, simplex: Simplex, mixture: np.ndarray) -> Configuration:
    """Return the default recipe with another mixture, ``(k,)``."""
    shares = dict(zip(simplex.domains, mixture.tolist(), strict=True))
    value = simplex.realise(Mixture.normalised(shares))
    return Configuration({**problem.default, simplex.name: value})


def phase_of(trial: TrialRecord) -> object:
    """Return what a trial was started for: ``proxy``, ``full``, or a method's own."""
    return trial.notes[0].get(PHASE) if trial.notes else None
