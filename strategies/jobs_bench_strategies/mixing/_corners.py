"""Methods of one proxy run a domain: what they know of mixtures is what they make of those."""

from __future__ import annotations

from abc import ABC

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import Problem
from jobs_bench_strategies.mixing._method import ProxyMethod
from jobs_bench_strategies.mixing._swarm import realised


class CornerMethod(ProxyMethod, ABC):
    """One proxy run for each corner of the simplex, as near to it as floors and caps allow.

    Args:
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
    """

    fewest = 2

    def __init__(self, short: float) -> None:
        super().__init__(0, short)

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The space has no mixture, or several.
            OptionError: The budget does not pay for a proxy run a domain and a full run.
        """
        super().setup(problem)
        wanted = len(self._simplex.domains)
        if self._n < wanted:
            raise OptionError(
                f"got short={self.short:g}; wanted {wanted} runs of that length (one a domain) "
                f"beside a full run, and {problem.budget} pays for {self._n}"
            )
        self._n = wanted

    def mixtures(self, seed: int) -> np.ndarray:
        """Return the mixtures nearest to a single domain, ``(k, k)``."""
        del seed
        return np.stack([realised(self._simplex, row) for row in np.eye(len(self._prior))])
