"""DEHB: Hyperband with differential evolution."""

from __future__ import annotations

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies.rungs._evolution import Evolution
from jobs_bench_strategies.rungs.hyperband import Hyperband


class Dehb(Hyperband):
    """Hyperband whose new configurations are offspring of good ones.

    Reference: Awad et al. 2021 (IJCAI). The rungs are `Hyperband`'s, the offspring `Evolution`'s,
    and so is what differs from the paper.

    Args:
        eta: One in `eta` trials goes on, above 1.
        factor: Weight of the difference of two parents, in (0, 1].
        crossover: Chance that a coordinate is the mutant's, in [0, 1].
    """

    info = StrategyInfo(
        "dehb",
        "Hyperband that breeds new configurations by differential evolution",
        needs=frozenset({"resume"}),
        reference="Awad et al. 2021, IJCAI",
    )

    def __init__(self, *, eta: float = 3.0, factor: float = 0.5, crossover: float = 0.5) -> None:
        if not 0 < factor <= 1:
            raise OptionError(f"got factor={factor}; wanted a number in (0, 1]")
        if not 0 <= crossover <= 1:
            raise OptionError(f"got crossover={crossover}; wanted a number in [0, 1]")
        super().__init__(eta=eta)
        self.sampler = Evolution(factor=factor, crossover=crossover)
