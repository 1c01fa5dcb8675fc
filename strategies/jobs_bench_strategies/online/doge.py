"""DoGE: shares of the domains whose gradients point where the target's does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
from jobs_bench_strategies.online._method import OnlineMethod, check_rounds
from jobs_bench_strategies.online.doremi import tilted

LIMIT: Final = 5.0
"""Highest score of a domain, in target gradients of length 1."""


class DogeController:
    """Weights grow by how much a step on a domain lowers the target's loss.

    Reference: Fan et al. 2023, arXiv 2310.15393, algorithm 1, as re-implemented by Chen et al.
    2024. With g_i the gradient of domain i and g that of the target, the score of domain i is
    ``<g_i, g> / mean_j |g_j|``, clipped to ``[0, 5]``; ``w <- softmax(log w + eta score)``. The
    paper's learning rate over mu, summed over the steps of a round, is eta here. What differs:
    gradients are measured once before every round and not at every step; the target is the visible
    questions with their right answers; rows are drawn by w where the paper weighs gradients; and
    the controlled run is itself the result, not a proxy of it.

    Args:
        rounds: Rounds of a full run, at least 2.
        eta: Step size, above 0.
    """

    signals: frozenset[Signal] = frozenset({"alignments"})

    def __init__(self, *, rounds: int = 10, eta: float = 1.0) -> None:
        check_rounds(rounds)
        if not eta > 0:
            raise OptionError(f"got eta={eta}; wanted a number above 0")
        self.rounds = rounds
        self.eta = eta

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return no run."""
        del mixture, horizon
        return ()

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return step 0 and the ends of even rounds."""
        del k
        return [0, *even_ends(self.rounds, horizon)]

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return the mixture as it is; the first round's shares come at step 0."""
        del horizon, proxies
        return {"shares": mixture}, mixture

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the shares that follow from the alignments."""
        products, norms = signals.alignments, signals.norms
        assert products is not None  # asked for
        assert norms is not None
        scale = float(norms.mean())
        scores = np.clip(products / scale, 0.0, LIMIT) if scale > 0 else np.zeros(len(products))
        shares = tilted(memory["shares"], self.eta * scores)
        return {"shares": shares}, shares


class Doge(OnlineMethod):
    """DoGE; see `DogeController`. One full run; a gradient a domain and round is charged as a step.

    Args:
        rounds: Rounds of the run, at least 2.
        eta: Step size, above 0.
    """

    info = StrategyInfo(
        "doge",
        "Shares of the domains whose gradients point where the visible questions' does",
        blocks=("data",),
        needs=frozenset({"reweight", "domain_gradients"}),
        reference="Fan et al. 2023, arXiv 2310.15393",
    )

    def __init__(self, *, rounds: int = 10, eta: float = 1.0) -> None:
        super().__init__(DogeController(rounds=rounds, eta=eta), {"rounds": rounds, "eta": eta})
