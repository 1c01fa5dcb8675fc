"""Which configuration `jobs` names at any moment."""

from __future__ import annotations

import numpy as np

from jobs_bench.strategy.contract import Recommendation
from jobs_bench_strategies._observing import Z95
from jobs_bench_strategies._surrogate import caveat
from jobs_bench_strategies.jobs.beliefs import Beliefs


def by_posterior(beliefs: Beliefs, horizon: int) -> Recommendation:
    """Return the highest posterior mean of the score at the horizon.

    Among the trials that were trained to the horizon; a shorter one is named only if the lower end
    of its interval lies above the means of all these, or if there are none. `beliefs` has a model.
    """
    assert beliefs.model is not None
    mean, sd = beliefs.at_the_horizon()
    full = np.asarray([at == horizon for _, at in beliefs.standing])
    floor = float(mean[full].max()) if full.any() else -np.inf
    named = full | (mean - Z95 * sd > floor)
    at = int(np.where(named, mean, -np.inf).argmax())
    if not full.any():
        how = "predicted: no trial was trained to it yet"
    elif full[at]:
        how = f"which {int(full.sum())} of {len(mean)} trials were trained to"
    else:
        how = "predicted, yet better at its lower bound than every trial trained to it"
    trial = beliefs.trials[at]
    return Recommendation(
        trial.config,
        float(mean[at]),
        float(mean[at] - Z95 * sd[at]),
        float(mean[at] + Z95 * sd[at]),
        f"highest posterior mean of the score at step {horizon}, {how}{caveat(beliefs.model)}",
        trial.trial_id,
    )
