"""Which mixtures a swarm of proxy runs tries, and which the laws are asked about."""

from __future__ import annotations

import numpy as np

from jobs_bench.space.configuration import Mixture
from jobs_bench.space.simplex import Simplex

_STRENGTHS = np.geomspace(0.1, 5.0, 15)


def prior_of(simplex: Simplex, rows: dict[str, int]) -> np.ndarray:
    """Return the natural shares, ``(k,)``: the axis's own, else by rows, else uniform."""
    if simplex.prior:
        shares = np.asarray(simplex.prior, dtype=np.float64)
    else:
        shares = np.asarray([rows.get(d, 0) for d in simplex.domains], dtype=np.float64)
        if shares.sum() <= 0:
            shares = np.ones(len(simplex.domains))
    found: np.ndarray = shares / shares.sum()
    return found


def caps_of(simplex: Simplex) -> np.ndarray:
    """Return the largest share of each domain, ``(k,)``."""
    return np.asarray(simplex.caps or (1.0,) * len(simplex.domains))


def swarm(
    simplex: Simplex, prior: np.ndarray, n: int, rng: np.random.Generator, *, temper: float = 0.5
) -> np.ndarray:
    """Return `n` mixtures around the tempered prior, ``(n, k)``, within the caps.

    Liu et al. 2024 (RegMix), section 3: a concentration drawn log-uniformly from [0.1, 5], then
    Dirichlet(concentration x prior^temper). Mixtures above a cap are capped (`Simplex.realise`)
    instead of drawn again: with tight caps hardly any draw would pass.

    Args:
        simplex: The mixture axis.
        prior: ``(k,)`` natural shares.
        n: How many.
        rng: Of the draws.
        temper: Power of the prior, 1 for none.
    """
    base = prior**temper / (prior**temper).sum()
    found = np.empty((n, len(prior)))
    for i in range(n):
        strength = rng.choice(_STRENGTHS) * len(prior)
        drawn = rng.dirichlet(np.maximum(strength * base, 1e-3))
        found[i] = realised(simplex, drawn)
    return found


def realised(simplex: Simplex, weights: np.ndarray) -> np.ndarray:
    """Return `weights`, ``(k,)``, as they would be trained."""
    shares = dict(zip(simplex.domains, weights.tolist(), strict=True))
    mixture = simplex.realise(Mixture.normalised(shares))
    return np.asarray([mixture[d] for d in simplex.domains])
