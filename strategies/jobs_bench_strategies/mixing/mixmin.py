"""MixMin: one proxy run a domain, and the mix of their predictions that fits the target best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench_strategies.mixing._corners import CornerMethod

GOLD: Final = "gold_logprob"
_STEPS = 1000
_SMALL = 1e-7


class MixMin(CornerMethod):
    """Mixes the models of single domains, and trains on the mixture of the best mix.

    Reference: Thudi et al. 2025, arXiv 2502.10510 (ICML 2025). For cross-entropy and rich models
    the Bayes model of a mixture of data is the mixture of Bayes models, so the best mixture
    minimises the convex ``F(v) = -mean_x log sum_i v_i p_i(x)`` over the simplex, where ``p_i`` is
    a model trained on domain i alone and x runs over the target (here the right answers of the
    visible questions). It is found by entropic descent, ``v <- v exp(-grad F) / Z``. What differs:
    where the space has floors or caps, a proxy run is as near to a single domain as they allow, and
    the mixture is the mix of those; a target of text is read by questions, each with equal weight.
    Cost: k short runs and one full run; an ask takes milliseconds.

    Args:
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
    """

    info = StrategyInfo(
        "mixmin",
        "One proxy run a domain, and the mix of their predictions that fits the target best",
        blocks=("data",),
        needs=frozenset({"logprobs"}),
        reference="Thudi et al. 2025, arXiv 2502.10510",
    )

    def __init__(self, *, short: float = 0.25) -> None:
        super().__init__(short)

    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the mix of the proxies' mixtures."""
        found = [(t, self._logprobs(t)) for t in proxies]
        known = [(t, row) for t, row in found if row is not None]
        if not known:
            return self._prior
        mix = best_mix(np.stack([row for _, row in known], axis=1))
        mixed: np.ndarray = mix @ self.weights([t for t, _ in known])
        return mixed

    def _logprobs(self, trial: TrialRecord) -> np.ndarray | None:
        """Return the log-probabilities of the right answers, ``(n,)``, ``None`` without."""
        point = next(p for p in trial.points if p.step == self._until)
        row = np.asarray(point.items.get(GOLD, ()), dtype=np.float64)
        return row if row.size and np.isfinite(row).all() else None


def best_mix(logprobs: np.ndarray) -> np.ndarray:
    """Return the weights ``(k,)`` of the smallest ``-mean_x log sum_i v_i p_i(x)``.

    Args:
        logprobs: ``log p_i(x)``, ``(n, k)``.
    """
    p = np.exp(logprobs - logprobs.max(axis=1, keepdims=True))
    v = np.full(p.shape[1], 1 / p.shape[1])
    for _ in range(_STEPS):
        gain = (p / (p @ v)[:, None]).mean(axis=0)  # minus the gradient
        moved = v * np.exp(gain - gain.max())
        moved /= moved.sum()
        if np.abs(moved - v).max() < _SMALL:
            break
        v = moved
    return v
