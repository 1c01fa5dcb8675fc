"""BOHB: Hyperband with kernel density estimates."""

from __future__ import annotations

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies.rungs._kde import Kde
from jobs_bench_strategies.rungs.hyperband import Hyperband


class Bohb(Hyperband):
    """Hyperband whose new configurations come from densities of good and bad ones.

    Reference: Falkner et al. 2018 (ICML). The rungs are `Hyperband`'s, the model is `Kde`'s,
    and so is what differs from the paper.

    Args:
        eta: One in `eta` trials goes on, above 1.
        top: Share of the scores that counts as good, in (0, 1).
        draws: Points to choose a configuration from, at least 1.
        random_share: Share of configurations drawn uniformly, in [0, 1].
    """

    info = StrategyInfo(
        "bohb",
        "Hyperband that draws near good configurations and away from bad ones (KDE)",
        needs=frozenset({"resume"}),
        reference="Falkner et al. 2018, ICML",
    )

    def __init__(
        self,
        *,
        eta: float = 3.0,
        top: float = 0.15,
        draws: int = 64,
        random_share: float = 1 / 3,
    ) -> None:
        if not 0 < top < 1:
            raise OptionError(f"got top={top}; wanted a number in (0, 1)")
        if draws < 1:
            raise OptionError(f"got draws={draws}; wanted at least 1")
        if not 0 <= random_share <= 1:
            raise OptionError(f"got random_share={random_share}; wanted a number in [0, 1]")
        super().__init__(eta=eta)
        self.sampler = Kde(top=top, draws=draws, random_share=random_share)
