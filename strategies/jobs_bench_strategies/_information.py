"""What an observation is worth to a maximiser: knowledge gradient, and bits about the maximum.

Both take Gaussian values only, in one unit: means and covariances of what could be recommended and
of what would be observed.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr


def knowledge_gradient(mean: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return ``E[max_a (mean_a + slopes_a Z)] - max_a mean_a`` for each observation, exactly.

    The expectation of a maximum of lines in a standard normal Z is a sum over the upper envelope:
    ``sum_i (b_(i+1) - b_i) f(-|c_i|)`` with ``f(z) = phi(z) + z Phi(z)``, the lines in order of
    their slopes b, and ``c_i`` where neighbours cross (Frazier, Powell and Dayanik 2009, algorithm
    1 and eq. 14).

    Args:
        mean: Posterior means of the alternatives, ``(a,)``.
        slopes: Covariance of each alternative with each observation over the observation's standard
            deviation, noise included, ``(o, a)``.

    Returns:
        ``(o,)``, at least 0.
    """
    return np.asarray([_gain_of_lines(mean, b) for b in slopes], dtype=np.float64)


def _gain_of_lines(intercepts: np.ndarray, slopes: np.ndarray) -> float:
    order = np.lexsort((intercepts, slopes))
    a, b = intercepts[order], slopes[order]
    last = np.append(b[1:] != b[:-1], True)  # of equal slopes the highest line
    a, b = a[last], b[last]
    kept = [0]
    crossings: list[float] = [-np.inf]
    for i in range(1, len(a)):
        while True:
            j = kept[-1]
            crossing = (a[j] - a[i]) / (b[i] - b[j])
            if len(kept) > 1 and crossing <= crossings[-1]:
                kept.pop()
                crossings.pop()
                continue
            break
        kept.append(i)
        crossings.append(float(crossing))
    if len(kept) == 1:
        return 0.0
    c = -np.abs(np.asarray(crossings[1:]))
    density = np.exp(-0.5 * c**2) / np.sqrt(2 * np.pi)
    return float((np.diff(b[kept]) * np.maximum(density + c * ndtr(c), 0.0)).sum())


def bits_about_maximum(
    mean: np.ndarray, sd: np.ndarray, correlation: np.ndarray, maxima: np.ndarray
) -> np.ndarray:
    """Return how much an observation tells of the maximum, in nats: the lower bound GIBBON.

    ``-1/2 mean_k log(1 - rho^2 r (g + r))`` with ``g = (maximum_k - mean) / sd`` and
    ``r = phi(g) / Phi(g)`` (Moss, Leslie, Gonzalez and Rayson 2021, eq. 10, for one observation).

    Args:
        mean: Posterior means of the configurations' values at the horizon, ``(o,)``.
        sd: Their standard deviations, above 0, ``(o,)``.
        correlation: Of each with what would be observed, noise included, ``(o,)``.
        maxima: Draws of the largest value, ``(k,)``.

    Returns:
        ``(o,)``, at least 0.
    """
    g = (maxima[:, None] - mean[None, :]) / sd[None, :]
    r = np.exp(-0.5 * g**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(g))
    explained = np.clip(correlation[None, :] ** 2 * r * (g + r), 0.0, 1.0 - 1e-12)
    found: np.ndarray = -0.5 * np.log1p(-explained).mean(axis=0)
    return found
