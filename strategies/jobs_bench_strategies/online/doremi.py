"""DoReMi: shares of the domains on which a reference does better."""

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


class DoReMiController:
    """Group DRO on the excess loss over a reference that was trained first.

    Reference: Xie et al. 2023, arXiv 2305.10429, algorithm 1. The excess of a token is
    ``max(loss - loss of the reference, 0)``, lambda_i its mean over the labelled tokens of domain i
    (a domain that was not drawn keeps its last one); ``w <- softmax(log w + eta lambda)``, then
    ``w <- (1 - c) w + c/k``. What differs: weights change once a round, not at every step; rows are
    drawn by them where the paper weighs losses; and the reference is a full run of the same model,
    so the controlled run is itself the result, where the paper trains a larger model on the mean of
    the weights.

    Args:
        rounds: Rounds of a full run, at least 2.
        eta: Step size, above 0.
        smoothing: Share c of the even mixture, ``[0, 1)``.
    """

    signals: frozenset[Signal] = frozenset({"excess"})

    def __init__(self, *, rounds: int = 10, eta: float = 1.0, smoothing: float = 0.001) -> None:
        check_rounds(rounds)
        if not eta > 0 or not 0 <= smoothing < 1:
            raise OptionError(
                f"got eta={eta}, smoothing={smoothing}; wanted eta above 0, smoothing in [0, 1)"
            )
        self.rounds = rounds
        self.eta = eta
        self.smoothing = smoothing

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return the reference: a full run on the mixture that the trial begins with."""
        return [ProxyRun(mixture, horizon)]

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return the ends of even rounds."""
        del k
        return even_ends(self.rounds, horizon)

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return no excess and the mixture as it is."""
        del horizon, proxies
        return {"shares": mixture, "excess": np.zeros(len(mixture))}, mixture

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the round's excess, and the shares that follow."""
        told = signals.excess
        assert told is not None  # asked for
        excess = np.where(np.isnan(told), memory["excess"], told)
        shares = tilted(memory["shares"], self.eta * excess)
        shares = (1 - self.smoothing) * shares + self.smoothing / len(shares)
        return {"shares": shares, "excess": excess}, shares


def tilted(shares: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return ``softmax(log shares + by)``; a share of 0 stays 0."""
    alive = shares > 0
    found = np.zeros(len(shares))
    found[alive] = softmax(np.log(shares[alive]) + by[alive])
    return found


class DoReMi(OnlineMethod):
    """DoReMi; see `DoReMiController`. Two full runs, and a pass of the reference a step.

    Args:
        rounds: Rounds of the run, at least 2.
        eta: Step size, above 0.
        smoothing: Share of the even mixture, ``[0, 1)``.
    """

    info = StrategyInfo(
        "doremi",
        "Shares of the domains on which a reference, trained first, does better",
        blocks=("data",),
        needs=frozenset({"reweight"}),
        reference="Xie et al. 2023, arXiv 2305.10429",
        target_blind=True,
    )

    def __init__(self, *, rounds: int = 10, eta: float = 1.0, smoothing: float = 0.001) -> None:
        super().__init__(
            DoReMiController(rounds=rounds, eta=eta, smoothing=smoothing),
            {"rounds": rounds, "eta": eta, "smoothing": smoothing},
        )
