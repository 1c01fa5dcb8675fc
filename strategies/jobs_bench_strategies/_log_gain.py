"""The expected gain of a normal value over nothing, in logarithms."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr


def log_gain(u: np.ndarray) -> np.ndarray:
    """Return ``log(u Phi(u) + phi(u))``, also where the sum underflows.

    Below -6 by the asymptotic series ``phi(u) / u^2 (1 - 3 / u^2)``.
    """
    low, high = np.minimum(u, -6.0), np.maximum(u, -6.0)
    far = -0.5 * (low**2 + np.log(2 * np.pi)) - 2 * np.log(-low) + np.log1p(-3 / low**2)
    density = np.exp(-0.5 * high**2) / np.sqrt(2 * np.pi)
    near = np.log(np.maximum(high * ndtr(high) + density, 1e-300))
    found: np.ndarray = np.where(u < -6.0, far, near)
    return found
