"""Multi-fidelity max-value entropy search."""

from __future__ import annotations

import numpy as np

from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies._information import bits_about_maximum
from jobs_bench_strategies._mf_value import MfByValue, Weighed

_DRAWS = 16


class MfMes(MfByValue):
    """The segment that tells most of the highest score at the horizon for its cost.

    Reference: multi-fidelity max-value entropy search (Takeno et al. 2020) with the bound of GIBBON
    (Moss, Leslie, Gonzalez and Rayson 2021), as in BoTorch's
    `qMultiFidelityLowerBoundMaxValueEntropy`. Maxima are drawn from the joint posterior of the
    configurations tried and of the new ones considered.

    Args:
        n_init: Trials before the model, ``[1, inf)``; see `mf_bo`.
        eta: Distance of the steps considered, as a factor, above 1.
        levels: How many steps are considered, the horizon among them, ``[1, inf)``.
        engine: What computes the process: ``native`` or ``botorch``.
    """

    info = StrategyInfo(
        "mf_mes",
        "Multi-fidelity max-value entropy search: bits about the maximum for each unit of cost",
        needs=frozenset({"resume", "curves"}),
        reference="Takeno et al. 2020; Moss et al. 2021 (GIBBON)",
    )

    def _values(self, weighed: Weighed, seed: int) -> np.ndarray:
        a = len(weighed.mean)
        covariance = weighed.covariance[:a, :a]
        lengths, axes = np.linalg.eigh(covariance)
        root = axes * np.sqrt(np.maximum(lengths, 0.0))
        draws = np.random.default_rng(seed).standard_normal((_DRAWS, a)) @ root.T
        maxima = (weighed.mean + draws).max(axis=1)
        sd = np.sqrt(np.maximum(np.diag(covariance)[weighed.own], 1e-12))
        slopes = weighed.slopes[np.arange(len(weighed.own)), weighed.own]
        return bits_about_maximum(weighed.mean[weighed.own], sd, slopes / sd, maxima)
