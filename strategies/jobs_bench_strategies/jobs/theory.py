"""How many full runs the predictor deserves: the regret bound of JoBS, computed.

Chen et al. 2026 (arXiv 2602.08351, section 5.4) bound the average regret of ``T = (C - N B) /
B_small`` short rounds after ``N`` full pilot runs by GP-UCB with the predictor's error as noise,
``R = k / sqrt(N)``. Their constants are not published; what stands here is the bound of
Chowdhury and Gopalan 2017 (IGP-UCB, theorem 3) with that noise,

    beta_T = b + R sqrt(2 (gamma_T + 1 + ln(1 / delta)))
    r(N)   = beta_T sqrt(gamma_T / T)                       (up to the factor 4 of the theorem)

with ``b`` the norm of the objective in the kernel's space and ``gamma_T`` the maximum information
gain of T evaluations. Two things are put right. ``gamma_T``, which the paper leaves undefined, is
computed: greedily, by the largest posterior variance on a candidate set, which is within a factor
``1 - 1/e`` of the maximum (Krause et al. 2008). And the error has a floor, ``R^2 = s0^2 + k^2 /
N``: no number of full runs teaches a predictor what short runs do not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from jobs_bench.errors import OptionError

Gamma = Callable[[float], float]
DELTA = 0.1


def information_gain(K: np.ndarray, noise: float, most: int) -> np.ndarray:
    """Return ``gamma_0 .. gamma_most``, greedily, ``(most + 1,)``.

    ``gamma += 1/2 ln(1 + v / noise)`` with v the largest posterior variance; a point may be taken
    again.

    Args:
        K: Prior covariance of the candidates, ``(n, n)``.
        noise: Variance of an observation, above 0.
        most: Observations, at least 0.

    Raises:
        OptionError: A noise that is not above 0.
    """
    if not noise > 0:
        raise OptionError(f"got a noise of {noise}; wanted a variance above 0")
    variances = np.array(np.diag(K), dtype=np.float64)
    gains = np.zeros(most + 1)
    # rows of L with posterior = K - L'L: a column of the posterior is all that a step needs
    L = np.empty((most, len(variances)))
    for t in range(most):
        at = int(variances.argmax())
        v = max(float(variances[at]), 0.0)
        gains[t + 1] = gains[t] + 0.5 * math.log1p(v / noise)
        L[t] = (K[at] - L[:t, at] @ L[:t]) / math.sqrt(v + noise)
        variances -= L[t] ** 2
    return gains


def interpolated(gains: np.ndarray) -> Gamma:
    """Return gamma at any number of observations; beyond the last, it grows with the logarithm."""
    n = len(gains) - 1

    def gamma(T: float) -> float:
        if n < 1 or T <= 0:
            return 0.0
        if n >= T:
            return float(np.interp(T, np.arange(n + 1), gains))
        return float(gains[n] * (1 + math.log(T / n) / math.log(1 + n)))

    return gamma


@dataclass(frozen=True, slots=True)
class Errors:
    """Error of a predictor fitted on N trials: ``sqrt(s0^2 + k^2 / N)``.

    Attributes:
        s0: What remains, at least 0.
        k: What full runs teach, at least 0.
    """

    s0: float
    k: float

    def at(self, N: float) -> float:
        """Return the error after N trials, N above 0."""
        return math.sqrt(self.s0**2 + self.k**2 / N)

    @classmethod
    def fit(cls, counts: Sequence[int], errors: Sequence[float]) -> Errors:
        """Return s0 and k of the least squares of squared errors, neither below 0.

        Args:
            counts: Trials behind each error.
            errors: Root mean square errors, leave-one-out; one at least.
        """
        A = np.stack([np.ones(len(counts)), 1 / np.asarray(counts, dtype=np.float64)], axis=1)
        (floor, slope), _ = nnls(A, np.asarray(errors, dtype=np.float64) ** 2)
        return cls(math.sqrt(floor), math.sqrt(slope))


def regret(
    N: float, C: float, B: float, B_small: float, b: float, errors: Errors, gamma: Gamma,
    delta: float = DELTA,
) -> float:  # fmt: skip
    """Return the bound ``r(N)`` on the average regret, infinity where no round is left.

    Args:
        N: Full pilot runs, above 0.
        C: Budget.
        B: Cost of a full run.
        B_small: Cost of a short one.
        b: Norm of the objective, at least 0.
        errors: Of the predictor.
        gamma: Maximum information gain.
        delta: The bound holds with probability ``1 - delta``.
    """
    T = (C - N * B) / B_small
    if T <= 0:
        return math.inf
    g = gamma(T)
    beta = b + errors.at(N) * math.sqrt(2 * (g + 1 + math.log(1 / delta)))
    return beta * math.sqrt(g / T)


@dataclass(frozen=True, slots=True)
class Split:
    """How the bound divides a budget.

    Attributes:
        N: Full runs of the smallest bound.
        counts: Every N that leaves a round.
        regrets: The bound at each.
    """

    N: int
    counts: tuple[int, ...]
    regrets: tuple[float, ...]

    def gain(self, N: int) -> float:
        """Return the share by which one more pilot after N lowers the bound, below 0: raises."""
        known = dict(zip(self.counts, self.regrets, strict=True))
        if N not in known or N + 1 not in known:
            return -math.inf
        return 1 - known[N + 1] / known[N]


def best_split(
    C: float, B: float, B_small: float, b: float, errors: Errors, gamma: Gamma,
    delta: float = DELTA,
) -> Split:  # fmt: skip
    """Return the N of the smallest bound; arguments as for `regret`.

    Raises:
        OptionError: The budget does not pay for one full run and one round.
    """
    counts = tuple(range(1, int(C / B) + 1))
    bounds = [regret(N, C, B, B_small, b, errors, gamma, delta) for N in counts]
    kept = [(N, r) for N, r in zip(counts, bounds, strict=True) if math.isfinite(r)]
    if not kept:
        raise OptionError(f"got a budget of {C}; wanted more than a full run, {B}, and a round")
    best = min(kept, key=lambda pair: pair[1])[0]
    return Split(best, tuple(N for N, _ in kept), tuple(r for _, r in kept))
