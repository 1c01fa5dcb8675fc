"""What a segment is worth: expected gain of the recommendation for each unit of its cost.

With ``f`` the score at the horizon of a configuration, ``m`` its posterior mean, ``y`` what the
segment will show and ``m*`` the posterior mean of the present recommendation, the mean after the
segment is normal about ``m`` with the standard deviation ``s = |cov(f, y)| / sd(y)``, and

    gain = E[max(m*, mean after)] - m* = s (u Phi(u) + phi(u)),   u = (m - m*) / s

(the knowledge gradient of Frazier, Powell and Dayanik 2008 for one alternative). A short run is
followed up only where it looks better than the recommendation, with probability ``Phi(u)``; its
cost is its own plus that share of the rest of the full run, since nothing is recommended that was
not trained to the horizon. Gain and cost are both positive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from jobs_bench_strategies._log_gain import log_gain
from jobs_bench_strategies._offers import Offer
from jobs_bench_strategies.jobs.beliefs import Beliefs


def log_values(
    beliefs: Beliefs, offers: Sequence[Offer], incumbent: float, *, cost_aware: bool = True
) -> np.ndarray:
    """Return the logarithm of gain per cost of each offer, ``(n,)``.

    Args:
        beliefs: With a model.
        offers: At least one.
        incumbent: ``m*``, in the unit of the score.
        cost_aware: Divide by the cost; otherwise every segment counts the same.
    """
    model = beliefs.model
    assert model is not None  # the caller asks beliefs that have one
    horizon = max(beliefs.deviations)
    points = [(o.config, horizon) for o in offers] + [(o.config, o.until) for o in offers]
    n = len(offers)
    rows = beliefs.rows(points)
    mean, _ = model.predict(rows[:n])
    joint = model.joint(rows) * model.scale.sd**2
    at = np.arange(n)
    shown = joint[n + at, n + at] + model.noise * model.scale.sd**2
    s = np.abs(joint[at, n + at]) / np.sqrt(np.maximum(shown, 1e-300))
    s = np.maximum(s, 1e-12 * max(abs(incumbent), 1.0))
    u = (mean - incumbent) / s
    cost = np.asarray([o.cost for o in offers])
    rest = np.asarray([o.rest for o in offers])
    spent = cost + ndtr(u) * rest if cost_aware else np.ones(n)
    found: np.ndarray = np.log(s) + log_gain(u) - np.log(np.maximum(spent, 1e-300))
    return found
