"""Aioli: shares by a linear mixing law that is learnt anew in every round of the run itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench.strategy.controller import Memory, ProxyLosses, ProxyRun, Signal, Signals
from jobs_bench_strategies.online._method import OnlineMethod


class AioliController:
    """Exponentiated descent on ``L_i(w) = c_i - sum_j A_ij w_j``, A from bursts within the run.

    Reference: Chen et al. 2024, arXiv 2411.05735, algorithms 1 and 2. A round begins with `sweeps`
    passes over the domains in random order. In each, a burst of a few steps has the share `heat` on
    one domain j and the rest on the others, and the fall of every held-out loss is noted. The mean
    falls D, falls by burst, give ``A = D P^-1`` with P the mixtures of the bursts; A is shifted to
    at least 0 and divided by its sum. Then ``w_j`` is multiplied by ``exp(eta sum_i A_ij)``, and
    the round ends on w. What differs: nothing but sizes, which follow the horizon; the orders are
    the same for every seed of a trial.

    Args:
        rounds: Rounds of a full run, at least 1; fewer where the horizon has no room.
        eta: Step size, above 0.
        sweeps: Passes over the domains a round, at least 1.
        heat: Share of a burst's own domain, ``(0, 1]`` but not ``1/k``.
        explore: Share of a round that bursts may take, ``(0, 1)``; a burst has one step at least.
    """

    signals: frozenset[Signal] = frozenset({"domain_losses"})

    def __init__(
        self,
        *,
        rounds: int = 4,
        eta: float = 0.5,
        sweeps: int = 2,
        heat: float = 0.625,
        explore: float = 0.4,
    ) -> None:
        if rounds < 1 or not eta > 0 or sweeps < 1 or not 0 < heat <= 1 or not 0 < explore < 1:
            raise OptionError(
                f"got rounds={rounds}, eta={eta}, sweeps={sweeps}, heat={heat}, explore={explore}; "
                "wanted rounds and sweeps of at least 1, eta above 0, heat in (0, 1], explore in "
                "(0, 1)"
            )
        self.rounds = rounds
        self.eta = eta
        self.sweeps = sweeps
        self.heat = heat
        self.explore = explore

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return no run."""
        del mixture, horizon
        return ()

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return the beginning of each round and the ends of its bursts.

        Raises:
            OptionError: The horizon has no room for one round, or `heat` is the even share.
        """
        if abs(self.heat - 1 / k) < 1e-6 and k > 1:
            raise OptionError(
                f"got heat={self.heat} over {k} domains; wanted another share than {1 / k:.4g}, "
                "under which all bursts are the same"
            )
        bursts = k * self.sweeps
        rounds = min(self.rounds, horizon // (bursts + 1))
        if rounds < 1:
            raise OptionError(
                f"got sweeps={self.sweeps} over {k} domains; wanted fewer than the {horizon} steps "
                "of a full run"
            )
        found: list[int] = []
        for i in range(rounds):
            first, last = (round(horizon * j / rounds) for j in (i, i + 1))
            steps = max(int(self.explore * (last - first) / bursts), 1)
            found += [first + steps * b for b in range(bursts + 1)]
        return found

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return no falls and the mixture as it is; the first round begins at step 0."""
        del horizon, proxies
        k = len(mixture)
        return _memory(mixture, np.zeros((k, k)), np.zeros(k)), mixture

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the falls of the burst that ended, and the shares of the next one or of the round.

        Held-out losses are those of the domains that are trained on.
        """
        now = signals.domain_losses
        assert now is not None  # asked for
        w, k = memory["shares"], len(now)
        index = list(self.ends(k, signals.horizon)).index(signals.step)
        number, burst = divmod(index, k * self.sweeps + 1)
        order = self.order(k, number)
        heats = mixtures(k, self.heat)
        if burst == 0:
            return _memory(w, np.zeros((k, k)), now), heats[order[0]]
        falls = memory["falls"].copy()
        falls[:, order[burst - 1]] += (memory["before"] - now) / self.sweeps
        if burst < len(order):
            return _memory(w, falls, now), heats[order[burst]]
        law = normalised(np.linalg.solve(heats.T, falls.T).T)
        new = w * np.exp(self.eta * law.sum(axis=0))
        new /= new.sum()
        return _memory(new, falls, now), new

    def order(self, k: int, number: int) -> list[int]:
        """Return the domains of the bursts of round `number`, from 0."""
        rng = np.random.default_rng(number)
        return [int(d) for _ in range(self.sweeps) for d in rng.permutation(k)]


def mixtures(k: int, heat: float) -> np.ndarray:
    """Return the mixtures of the bursts, ``(k, k)``: row j has `heat` on domain j."""
    if k == 1:
        return np.ones((1, 1))
    rest = (1 - heat) / (k - 1)
    found: np.ndarray = np.full((k, k), rest) + (heat - rest) * np.eye(k)
    return found


def normalised(law: np.ndarray) -> np.ndarray:
    """Return `law` shifted to at least 0 and divided by its sum, zeros where it is flat."""
    shifted = law - min(float(law.min()), 0.0)
    total = float(shifted.sum())
    found: np.ndarray = shifted / total if total > 0 else np.zeros_like(law)
    return found


def _memory(shares: np.ndarray, falls: np.ndarray, before: np.ndarray) -> Memory:
    return {"shares": shares, "falls": falls, "before": before}


class Aioli(OnlineMethod):
    """Aioli; see `AioliController`. One full run; held-out losses after every burst are charged.

    Args:
        rounds: Rounds of the run, at least 1.
        eta: Step size, above 0.
        sweeps: Passes over the domains a round, at least 1.
        heat: Share of a burst's own domain, ``(0, 1]`` but not ``1/k``.
        explore: Share of a round that bursts may take, ``(0, 1)``.
    """

    info = StrategyInfo(
        "aioli",
        "Shares by a linear mixing law learnt from bursts within the run",
        blocks=("data",),
        needs=frozenset({"reweight", "domain_losses"}),
        reference="Chen et al. 2024, arXiv 2411.05735",
        target_blind=True,
    )

    def __init__(
        self,
        *,
        rounds: int = 4,
        eta: float = 0.5,
        sweeps: int = 2,
        heat: float = 0.625,
        explore: float = 0.4,
    ) -> None:
        super().__init__(
            AioliController(rounds=rounds, eta=eta, sweeps=sweeps, heat=heat, explore=explore),
            {"rounds": rounds, "eta": eta, "sweeps": sweeps, "heat": heat, "explore": explore},
        )
