"""RegMix: regression on proxy runs, then the best of very many simulated mixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies.mixing._laws import (
    Law,
    fit_gp,
    fit_log_linear,
    fit_ridge,
    fit_trees,
)
from jobs_bench_strategies.mixing._method import SwarmMethod
from jobs_bench_strategies.mixing._swarm import caps_of

_SIMULATED = 100_000
_AVERAGED = 128
_FITS: dict[str, Callable[[np.ndarray, np.ndarray], Law]] = {
    "gp": fit_gp,
    "trees": fit_trees,
    "ridge": fit_ridge,
    "log_linear": fit_log_linear,
}


class RegMix(SwarmMethod):
    """Fits a regression to proxy runs and averages the best of 100,000 simulated mixtures.

    Reference: Liu et al. 2024, arXiv 2407.01492 (ICLR 2025). The proxies are short runs of the
    model itself instead of a smaller model's, and all of them are charged; the number of
    trees does not come from test data; simulated mixtures respect the repetition caps, which the
    published simulation forgets.

    Args:
        n_proxies: Proxy runs, 0 for as many as the budget pays for beside one full run.
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
        regressor: ``gp`` on square roots, ``trees`` (the paper's), ``ridge`` on square roots, or
            ``log_linear``.
    """

    info = StrategyInfo(
        "regmix",
        "Regression on short runs of many mixtures, best of 100,000 simulated ones",
        blocks=("data",),
        needs=frozenset({"curves"}),
        reference="Liu et al. 2024, arXiv 2407.01492",
    )

    def __init__(
        self,
        *,
        n_proxies: int = 0,
        short: float = 0.25,
        regressor: Literal["gp", "trees", "ridge", "log_linear"] = "trees",
    ) -> None:
        super().__init__(n_proxies, short)
        self.regressor = regressor

    def fit(self, weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Return the mean of the 128 simulated mixtures with the lowest predicted loss."""
        law = _FITS[self.regressor](weights, losses)
        drawn = np.random.default_rng(0).dirichlet(
            np.maximum(self._prior * len(self._prior), 1e-2), size=_SIMULATED
        )
        allowed = drawn[(drawn <= caps_of(self._simplex) + 1e-12).all(axis=1)]
        pool = np.concatenate([allowed, weights])
        best = np.argsort(law(pool), kind="stable")[:_AVERAGED]
        found: np.ndarray = pool[best].mean(axis=0)
        return found
