"""Multi-fidelity knowledge gradient."""

from __future__ import annotations

import numpy as np

from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies._information import knowledge_gradient
from jobs_bench_strategies._mf_value import MfByValue, Weighed


class MfKg(MfByValue):
    """The segment that raises the best posterior mean at the horizon most for its cost.

    Reference: the cost-aware knowledge gradient over traces and fidelities (Poloczek, Wang and
    Frazier 2017; Wu, Toscano-Palmerin, Frazier and Wilson 2019), as in BoTorch's
    `qMultiFidelityKnowledgeGradient`. What differs: the maximum after the observation is taken over
    the configurations tried and the new ones considered, where BoTorch searches the space for each
    of its fantasies; in return its expectation is exact (Frazier et al. 2009), without fantasies,
    and an ask takes tens of milliseconds instead of minutes.

    Args:
        n_init: Trials before the model, ``[1, inf)``; see `mf_bo`.
        eta: Distance of the steps considered, as a factor, above 1.
        levels: How many steps are considered, the horizon among them, ``[1, inf)``.
        engine: What computes the process: ``native`` or ``botorch``.
    """

    info = StrategyInfo(
        "mf_kg",
        "Multi-fidelity knowledge gradient: gain of the best posterior mean for each unit of cost",
        needs=frozenset({"resume", "curves"}),
        reference="Poloczek et al. 2017; Wu et al. 2019; Frazier et al. 2009",
    )

    def _values(self, weighed: Weighed, seed: int) -> np.ndarray:
        del seed
        return knowledge_gradient(weighed.mean, weighed.slopes)
