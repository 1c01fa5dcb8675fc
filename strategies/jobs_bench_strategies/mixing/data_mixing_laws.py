"""Data Mixing Laws: a law a domain loss, extrapolated along the curves, and their weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from jobs_bench.errors import CapabilityError
from jobs_bench.strategy.contract import Problem, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench_strategies.mixing._laws import LogLinear, fit_log_linear
from jobs_bench_strategies.mixing._method import ProxyMethod
from jobs_bench_strategies.mixing._swarm import caps_of
from jobs_bench_strategies.mixing.olmix import propose

_EXPONENTS = np.geomspace(0.1, 2.0, 14)


class DataMixingLaws(ProxyMethod):
    """Fits ``L_i = c_i + exp(b_i + t_i . w)`` to each domain's loss and minimises their mix.

    Reference: Ye et al. 2025, arXiv 2403.16952 (ICLR 2025). Losses of the proxy runs are first
    taken to the horizon by a power law of the step, ``a + b step^-c``, whose exponent all runs of a
    domain share. The target's loss is a mix of the domains' with weights at least 0, found by least
    squares on the proxy runs (the paper's aggregation, with the domains known instead of implicit);
    where that explains nothing, the plain mean. What differs: proxies are short runs of the model
    itself, so that there is no power law of model size. The sum of laws is convex in the mixture
    and minimised exactly within the caps.

    Args:
        n_proxies: Proxy runs, 0 for as many as the budget pays for beside one full run.
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
    """

    info = StrategyInfo(
        "data_mixing_laws",
        "A log-linear law of each domain's loss on extrapolated curves, their mix minimised",
        blocks=("data",),
        needs=frozenset({"curves", "domain_losses"}),
        reference="Ye et al. 2025, arXiv 2403.16952",
    )

    def __init__(self, *, n_proxies: int = 0, short: float = 0.25) -> None:
        super().__init__(n_proxies, short)

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task does not measure domain losses; no single mixture.
            OptionError: The budget does not pay for the proxies.
        """
        if "domain_losses" not in problem.capabilities:
            raise CapabilityError(
                "data_mixing_laws needs the losses of single domains; this task measures none "
                "(with one loss the law is monotone and its minimum a corner)"
            )
        super().setup(problem)

    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the minimiser of the mix of laws."""
        weights, losses = self.weights(proxies), self.losses(proxies)
        names = sorted(set.intersection(*(_measured(t, self._until) for t in proxies)))
        if not names:
            # every domain loss diverged somewhere: nothing to fit laws to
            best: np.ndarray = weights[int(losses.argmin())]
            return best
        now = np.asarray([[_loss(t, self._until, n) for n in names] for t in proxies])
        horizon = self.problem.fidelity.horizon
        later = np.column_stack([self._extrapolated(proxies, n, horizon) for n in names])
        mix = importance(now, losses)
        laws = [fit_log_linear(weights, column) for column in later.T]
        return propose(MixOfLaws(tuple(laws), mix), self._prior, caps_of(self._simplex), 0.0)

    def _extrapolated(self, proxies: Sequence[TrialRecord], name: str, horizon: int) -> np.ndarray:
        steps = sorted({p.step for t in proxies for p in t.points if p.step <= self._until})
        shown = [s for s in steps if all(np.isfinite(_loss(t, s, name)) for t in proxies)]
        curves = np.asarray([[_loss(t, s, name) for s in shown] for t in proxies])
        return extrapolate(np.asarray(shown, dtype=np.float64), curves, float(horizon))


@dataclass(frozen=True)
class MixOfLaws:
    """``sum_i s_i L_i(w)``.

    Attributes:
        laws: One a domain loss.
        mix: ``(m,)`` weights, at least 0.
    """

    laws: tuple[LogLinear, ...]
    mix: np.ndarray

    def __call__(self, at: np.ndarray) -> np.ndarray:
        """Return the values at ``(q, k)`` weights."""
        found: np.ndarray = sum(
            (s * law(at) for s, law in zip(self.mix, self.laws, strict=True)), np.zeros(len(at))
        )
        return found

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Return the gradient at ``(k,)`` weights."""
        found: np.ndarray = sum(
            (s * law.gradient(w) for s, law in zip(self.mix, self.laws, strict=True)),
            np.zeros(len(w)),
        )
        return found


def importance(domain_losses: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return how much each domain's loss counts for the target's, ``(m,)``, summing to 1.

    Least squares with weights at least 0 and a free constant, of ``(n,)`` target losses on ``(n,
    m)`` domain losses; equal weights where no domain's loss goes with the target's.
    """
    centred = domain_losses - domain_losses.mean(axis=0)
    found, _ = nnls(centred, losses - losses.mean())
    total = float(found.sum())
    m = domain_losses.shape[1]
    return np.full(m, 1 / m) if total <= 0 else found / total


def extrapolate(steps: np.ndarray, curves: np.ndarray, horizon: float) -> np.ndarray:
    """Return ``a + b horizon^-c``, ``(n,)``, of the curves, ``(n, s)`` at `steps`, ``(s,)``.

    Each curve has its own `a` and `b >= 0`; `c` is shared and has the smallest squared error. With
    fewer than three points the last one is carried forward.
    """
    if len(steps) < 3:
        last: np.ndarray = curves[:, -1]
        return last
    best: tuple[float, np.ndarray] | None = None
    for c in _EXPONENTS:
        x = steps**-c
        centred = x - x.mean()
        slope = np.maximum((curves @ centred) / (centred @ centred), 0.0)
        level = curves.mean(axis=1) - slope * x.mean()
        error = float(((level[:, None] + slope[:, None] * x - curves) ** 2).sum())
        if best is None or error < best[0]:
            best = (error, level + slope * horizon**-c)
    assert best is not None
    return best[1]


def _loss(trial: TrialRecord, step: int, name: str) -> float:
    point = next((p for p in trial.points if p.step == step), None)
    return float("nan") if point is None else point.domain_losses.get(name, float("nan"))


def _measured(trial: TrialRecord, step: int) -> set[str]:
    point = next(p for p in trial.points if p.step == step)
    return {name for name, loss in point.domain_losses.items() if np.isfinite(loss)}
