"""Skill-It: shares of what helps the domains that are still hard, by a graph of short runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench.strategy.controller import (
    Memory,
    ProxyLosses,
    ProxyRun,
    Signal,
    Signals,
    even_ends,
)
from jobs_bench_strategies.online._method import OnlineMethod, check_rounds, softmax


class SkillItController:
    """Weights ``exp(eta sum A L)`` over the held-out losses L of the last rounds.

    Reference: Chen et al. 2023, arXiv 2307.14430, algorithm 1, with the graph of linear cost: A_ij
    is the share by which the loss of domain j falls in a short run on domain i alone, at least 0.
    The first shares are ``softmax(eta A 1)``, later ones ``softmax(eta sum_t A L_t)`` over the last
    `window` rounds. What differs: the domains are the skills, for training and for evaluation.

    Args:
        rounds: Rounds of a full run, at least 2.
        eta: Step size, above 0.
        window: Rounds whose losses count, at least 1.
        short: Length of a run for the graph as a share of the horizon, ``(0, 1]``; one a domain.
    """

    signals: frozenset[Signal] = frozenset({"domain_losses"})

    def __init__(
        self, *, rounds: int = 6, eta: float = 0.5, window: int = 3, short: float = 0.05
    ) -> None:
        check_rounds(rounds)
        if not eta > 0 or window < 1 or not 0 < short <= 1:
            raise OptionError(
                f"got eta={eta}, window={window}, short={short}; wanted eta above 0, window of at "
                "least 1 and short in (0, 1]"
            )
        self.rounds = rounds
        self.eta = eta
        self.window = window
        self.short = short

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return a short run on each domain alone."""
        steps = max(round(self.short * horizon), 1)
        return [ProxyRun(alone, steps) for alone in np.eye(len(mixture))]

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return the ends of even rounds."""
        del k
        return even_ends(self.rounds, horizon)

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return the graph and the shares of what helps most."""
        del horizon
        k = len(mixture)
        graph = np.stack([np.maximum((p.before - p.after) / p.before, 0.0) for p in proxies])
        memory = {"graph": graph, "losses": np.zeros((self.window, k))}
        return memory, softmax(self.eta * graph.sum(axis=1))

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the losses with the round's, the oldest left out, and the shares that follow."""
        assert signals.domain_losses is not None  # asked for
        losses = np.vstack([memory["losses"][1:], signals.domain_losses])
        graph = memory["graph"]
        return {"graph": graph, "losses": losses}, softmax(self.eta * graph @ losses.sum(axis=0))


class SkillIt(OnlineMethod):
    """Skill-It; see `SkillItController`. One full run after a short run a domain, all charged.

    Args:
        rounds: Rounds of the run, at least 2.
        eta: Step size, above 0.
        window: Rounds whose losses count, at least 1.
        short: Length of a run for the graph as a share of the horizon, ``(0, 1]``.
    """

    info = StrategyInfo(
        "skill_it",
        "Shares of what helps the domains with high held-out losses, by a graph of short runs",
        blocks=("data",),
        needs=frozenset({"reweight", "domain_losses"}),
        reference="Chen et al. 2023, arXiv 2307.14430",
        target_blind=True,
    )

    def __init__(
        self, *, rounds: int = 6, eta: float = 0.5, window: int = 3, short: float = 0.05
    ) -> None:
        super().__init__(
            SkillItController(rounds=rounds, eta=eta, window=window, short=short),
            {"rounds": rounds, "eta": eta, "window": window, "short": short},
        )
