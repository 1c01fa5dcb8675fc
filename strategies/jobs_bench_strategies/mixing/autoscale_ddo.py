"""AutoScale: optimal amounts of each domain at two lengths, extrapolated to the horizon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, least_squares, minimize

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import Problem, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench_strategies.mixing._method import ProxyMethod
from jobs_bench_strategies.mixing._swarm import caps_of, realised

_FACTOR = 3.0
_LEAST = 1e-4  # of the amount of the base mixture: keeps logarithms finite


class AutoScaleDdo(ProxyMethod):
    """Varies each domain's amount threefold up and down, at two lengths of run.

    Reference: Kang et al. 2025, arXiv 2407.20177 (COLM 2025). At a length of run the loss is taken
    for a sum of what each domain's amount does to it, ``c + s (q + a)^-b``, fitted to the base
    mixture and two more runs a domain (2 k + 1 runs); amounts of the smallest sum are the optimum
    at that length (direct data optimisation). Between lengths the amounts change by powers, each
    domain with its own, which gives the mixture at the horizon. What differs: the runs' own curves
    give both lengths, so that the second costs nothing; a run keeps its length when a domain's
    amount changes, the others make room; the target's loss takes the place of mean perplexity.

    Args:
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``: the longer of the two.
    """

    info = StrategyInfo(
        "autoscale_ddo",
        "Each domain's amount varied up and down, optimal amounts extrapolated to the horizon",
        blocks=("data",),
        needs=frozenset({"curves"}),
        reference="Kang et al. 2025, arXiv 2407.20177",
    )

    def __init__(self, *, short: float = 0.25) -> None:
        super().__init__(0, short)

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The space has no mixture, or several.
            OptionError: The budget does not pay for two runs a domain, one more, and a full run.
        """
        super().setup(problem)
        wanted = 2 * len(self._simplex.domains) + 1
        if self._n < wanted:
            raise OptionError(
                f"got short={self.short:g}; wanted {wanted} runs of that length (two a domain and "
                f"one) beside a full run, and {problem.budget} pays for {self._n}"
            )
        self._n = wanted

    def mixtures(self, seed: int) -> np.ndarray:
        """Return the base mixture, then two mixtures a domain, ``(2 k + 1, k)``."""
        del seed
        return design(realised(self._simplex, np.full(len(self._prior), 1 / len(self._prior))))

    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the optimum extrapolated to the horizon."""
        steps = [s for s in self.problem.fidelity.steps if s <= self._until]
        half = min(steps, key=lambda s: abs(s - self._until / 2))
        weights = self.weights(proxies)
        caps = caps_of(self._simplex)
        late = optimum(weights, self.losses(proxies), caps)
        scores = [t.score_at(half) for t in proxies]
        early_losses = np.asarray([np.nan if s is None else -s for s in scores])
        if half == self._until or not np.isfinite(early_losses).all():
            return late
        early = optimum(weights, early_losses, caps)
        return extrapolate(early, late, half, self._until, self.problem.fidelity.horizon)


def design(base: np.ndarray) -> np.ndarray:
    """Return `base`, ``(k,)``, then each domain's amount times 3 and by 3, ``(2 k + 1, k)``."""
    rows = [base]
    for i in range(len(base)):
        for factor in (_FACTOR, 1 / _FACTOR):
            row = base.copy()
            row[i] *= factor
            rows.append(row / row.sum())
    return np.stack(rows)


def optimum(weights: np.ndarray, losses: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """Return the mixture, ``(k,)``, of the smallest sum of the domains' curves.

    Args:
        weights: The base mixture, then the others of `design` in any number, ``(n, k)``.
        losses: ``(n,)``.
        caps: Largest shares, ``(k,)``.
    """
    base = np.maximum(weights[0], _LEAST)
    curves = [_curve(weights[:, i] / base[i], losses, _moved(weights, i)) for i in range(len(base))]

    def value(w: np.ndarray) -> tuple[float, np.ndarray]:
        x = np.maximum(w / base, 0.0)
        total, slope = 0.0, np.empty_like(w)
        for i, (s, a, b) in enumerate(curves):
            total += s * (x[i] + a) ** -b
            slope[i] = -s * b * (x[i] + a) ** (-b - 1) / base[i]
        return total, slope

    start = np.minimum(base, caps)
    found = minimize(
        value,
        start / start.sum(),
        jac=True,
        bounds=Bounds(np.full(len(caps), _LEAST) * base, np.maximum(caps, _LEAST * base)),
        constraints=LinearConstraint(np.ones((1, len(caps))), 1.0, 1.0),
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    w = np.clip(np.asarray(found.x), 0.0, caps)
    best: np.ndarray = w / w.sum()
    return best


def extrapolate(
    early: np.ndarray, late: np.ndarray, first: float, second: float, horizon: float
) -> np.ndarray:
    """Return the mixture at `horizon`: amounts are powers of the length of the run.

    ``q_i(n) = q_i(n2) (q_i(n2) / q_i(n1))^(log(n / n2) / log(n2 / n1))``, normalised: the
    paper's rule, applied once.
    """
    q1, q2 = np.maximum(early, _LEAST) * first, np.maximum(late, _LEAST) * second
    power = np.log(horizon / second) / np.log(second / first)
    logs = np.log(q2) + power * (np.log(q2) - np.log(q1))
    q = np.exp(logs - logs.max())
    shares: np.ndarray = q / q.sum()
    return shares


def _moved(weights: np.ndarray, i: int) -> np.ndarray:
    """Return which mixtures are the base, or have domain `i` changed most, ``(n,)``."""
    ratio = np.abs(np.log(np.maximum(weights, _LEAST) / np.maximum(weights[0], _LEAST)))
    changed = ratio.max(axis=1) > 1e-9
    found: np.ndarray = ~changed | (ratio.argmax(axis=1) == i)
    return found


def _curve(x: np.ndarray, losses: np.ndarray, rows: np.ndarray) -> tuple[float, float, float]:
    """Return ``(s, a, b)`` of ``c + s (x + a)^-b``, with s, b at least 0, over `rows`."""
    x, y = x[rows], losses[rows]
    scale = max(float(np.ptp(losses)), 1e-12)

    def residual(p: np.ndarray) -> np.ndarray:
        found: np.ndarray = (p[0] + p[1] * (x + p[2]) ** -p[3] - y) / scale
        return found

    start = [float(y.min()), max(float(np.ptp(y)), 1e-3 * scale), 0.5, 0.5]
    lower, upper = [-np.inf, 0.0, 1e-2, 1e-2], [np.inf, np.inf, 3.0, 3.0]
    found = least_squares(residual, start, bounds=(lower, upper), max_nfev=500)
    _, s, a, b = found.x
    return float(s), float(a), float(b)
