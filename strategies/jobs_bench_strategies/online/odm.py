"""ODM: shares follow the training losses, as a bandit would have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

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

REWARD: Final = 0.1
"""Reward of a nat of loss, as in the released code."""


class OdmController:
    """Exp3 (Auer et al. 2002) with a domain's training loss as its reward.

    Reference: Albalak et al. 2023, arXiv 2312.02406, algorithm 1. After t steps with cumulative
    rewards R the shares are ``(1 - k e_t) softmax(e_{t-1} R) + e_t`` with
    ``e_t = min(1/k, sqrt(ln k / (k t)))``; a step on domain i adds ``loss_i / (10 share_i)`` to
    ``R_i``. What differs: a batch holds rows of many domains and shares change at ends of rounds,
    so a round adds its number of steps times the mean of that reward over its rows; the softmax
    cannot overflow.

    Args:
        rounds: Rounds of a full run, at least 2.
    """

    signals: frozenset[Signal] = frozenset()

    def __init__(self, *, rounds: int = 8) -> None:
        check_rounds(rounds)
        self.rounds = rounds

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return no run."""
        del mixture, horizon
        return ()

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return the ends of even rounds."""
        del k
        return even_ends(self.rounds, horizon)

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return no rewards and the mixture as it is."""
        del horizon, proxies
        return _memory(0, np.zeros(len(mixture)), mixture), mixture

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the rewards with those of the round, and the shares that follow."""
        shares, rewards = memory["shares"], memory["rewards"].copy()
        turns = signals.step - memory["step"][0]
        seen = signals.rows > 0
        drawn = signals.rows[seen] / signals.rows.sum()
        rewards[seen] += turns * drawn / shares[seen] * REWARD * signals.train_losses[seen]
        k, t = len(shares), signals.step + 1
        floor = exploration(k, t)
        new = (1 - k * floor) * softmax(exploration(k, t - 1) * rewards) + floor
        new /= new.sum()
        return _memory(signals.step, rewards, new), new


def exploration(k: int, t: int) -> float:
    """Return the least share of a domain at turn `t`, from 1."""
    return min(1 / k, math.sqrt(math.log(k) / (k * t)))


def _memory(step: int, rewards: np.ndarray, shares: np.ndarray) -> Memory:
    return {"step": np.asarray([float(step)]), "rewards": rewards, "shares": shares}


class Odm(OnlineMethod):
    """Online data mixing by Exp3; see `OdmController`. One full run, nothing else is charged.

    Args:
        rounds: Rounds of the run, at least 2.
    """

    info = StrategyInfo(
        "odm",
        "Shares follow the domains' training losses as an Exp3 bandit, one run",
        blocks=("data",),
        needs=frozenset({"reweight"}),
        reference="Albalak et al. 2023, arXiv 2312.02406",
        target_blind=True,
    )

    def __init__(self, *, rounds: int = 8) -> None:
        super().__init__(OdmController(rounds=rounds), {"rounds": rounds})
