"""Olmix: a log-linear law and an exact convex proposal."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, minimize

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import StrategyInfo
from jobs_bench_strategies.mixing._laws import fit_log_linear
from jobs_bench_strategies.mixing._method import SwarmMethod
from jobs_bench_strategies.mixing._swarm import caps_of

_TINY = 1e-9


class Olmix(SwarmMethod):
    """Fits ``c + exp(b + t . w)`` to proxy runs and minimises it plus a pull to the prior.

    Reference: OlmixBase of arXiv 2602.12237. The proposal minimises ``exp(b + t . w) / s + strength
    KL(w || prior)`` over the simplex with repetition caps, which is convex and solved exactly
    (SLSQP). `s`, the spread of the losses seen, makes `strength` mean the same for every metric.
    The proxies are short runs of the model itself instead of a smaller model's; all are charged.

    Args:
        n_proxies: Proxy runs, 0 for as many as the budget pays for beside one full run.
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
        strength: Of the pull to the natural shares, at least 0 (the paper: 0.05 to 0.1).
    """

    info = StrategyInfo(
        "olmix",
        "Log-linear law on short runs, convex proposal near the natural mixture",
        blocks=("data",),
        needs=frozenset({"curves"}),
        reference="Olmix, arXiv 2602.12237",
    )

    def __init__(self, *, n_proxies: int = 0, short: float = 0.25, strength: float = 0.05) -> None:
        if not (math.isfinite(strength) and strength >= 0):
            raise OptionError(f"got strength={strength}; wanted at least 0")
        super().__init__(n_proxies, short)
        self.strength = strength

    def fit(self, weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Return the minimiser of the penalised law."""
        law = fit_log_linear(weights, losses)
        spread = max(float(losses.std()), 1e-12)
        return propose(law, self._prior, caps_of(self._simplex), self.strength * spread)


class ConvexLaw(Protocol):
    """A loss that is convex in the mixture."""

    def __call__(self, at: np.ndarray) -> np.ndarray:
        """Return the losses at ``(q, k)`` weights."""
        ...

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Return the gradient at ``(k,)`` weights."""
        ...


def propose(law: ConvexLaw, prior: np.ndarray, caps: np.ndarray, strength: float) -> np.ndarray:
    """Return the ``(k,)`` minimiser of ``law(w) + strength KL(w || prior)`` within the caps.

    Domains without rows (prior 0) get a prior of a thousandth of the smallest one.
    """
    positive = prior[prior > 0]
    base = np.where(prior > 0, prior, 1e-3 * positive.min())
    base = base / base.sum()

    def value(w: np.ndarray) -> float:
        safe = np.maximum(w, _TINY)
        return float(law(w[None])[0] + strength * (safe * np.log(safe / base)).sum())

    def slope(w: np.ndarray) -> np.ndarray:
        safe = np.maximum(w, _TINY)
        found: np.ndarray = law.gradient(w) + strength * (np.log(safe / base) + 1.0)
        return found

    start = np.minimum(base, caps)
    start = start + (1 - start.sum()) * (caps - start) / max((caps - start).sum(), _TINY)
    found = minimize(
        value,
        start,
        jac=slope,
        bounds=Bounds(np.zeros(len(caps)), caps),
        constraints=LinearConstraint(np.ones((1, len(caps))), 1.0, 1.0),
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    clipped = np.clip(np.asarray(found.x), 0.0, caps)
    w: np.ndarray = clipped / clipped.sum()
    return w
