"""A score that is a weighted sum of parts: one process a part, added up.

Each part (a domain's loss, say) depends on fewer domains and more smoothly than their sum does.
The processes are taken for independent, so variances add: ``sum of w^2 k``. All are fitted,
conditioned and searched together, by the operators' models in front.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import GpState, gp_condition, gp_fit, gp_kernel, gp_posterior
from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._acquire_native import NativeLandscape
from jobs_bench_strategies._gp_native import covariance_of
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._scaling import Scale, tame
from jobs_bench_strategies._surrogate import Covariance, Goal, LogEI


@dataclass(frozen=True, slots=True)
class SumSurrogate:
    """A `Surrogate`; see there.

    Attributes:
        scale: Of the sums.
        factors: What a standard deviation of each part is of the sum's, with its sign, ``(m,)``.
        shift: Of the sum of the parts' standardised scores against the standardised sum.
        y: Standardised parts, higher is better in each, ``(m, n)``.
        state: The processes after them.
        noise_variance: ``(m, n)``.
        trouble: Why the fit failed, empty if it did not.
    """

    scale: Scale
    factors: Tensor
    shift: float
    y: Tensor
    state: GpState
    noise_variance: Tensor
    trouble: str

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        values: np.ndarray,
        weights: Sequence[float],
        covariance: Covariance,
        encoding: NativeEncoding,
        known: np.ndarray,
    ) -> SumSurrogate:
        """Return the surrogate of ``values @ weights`` at `X`.

        Args:
            X: Rows, ``(n, d)``.
            values: Of the parts, ``(n, m)``.
            weights: Of the parts, ``(m,)``.
            covariance: Of every part.
            encoding: Of the configurations.
            known: Variances of the sums, ``(n,)``; each part is given an equal share of them.
        """
        w = np.asarray(weights, dtype=np.float64)
        scale = Scale.of(values @ w)
        # turned, so that in every part higher is better: what is tamed is the bad end
        parts = [tame(column) for column in (values * np.sign(w)).T]
        scales = [Scale.of(part) for part in parts]
        sd = np.asarray([s.sd for s in scales])
        y = torch.as_tensor(
            np.stack([s.standardise(p) for s, p in zip(scales, parts, strict=True)])
        )
        given = torch.as_tensor(known / float((w**2).sum()) / sd[:, None] ** 2)
        rows = torch.as_tensor(X, dtype=torch.float64)
        spec, priors = covariance_of(encoding, covariance)
        m, trouble = len(w), ""
        with quiet(0):
            try:
                found = gp_fit(rows, y, spec, priors, known_noise=given)
                theta, noise, mean = found.theta, found.noise, found.mean
            except (DataError, RuntimeError) as err:
                start = torch.tensor([b.start for b in priors.boxes]).double().repeat(m, 1)
                theta, noise, mean = start[:, :-2], start[:, -2], start[:, -1]
                trouble = str(err)
            noise = noise[:, None] + given
            state = gp_condition(rows, y, theta, noise, mean, spec)
        middle = sum(abs(a) * s.mean for a, s in zip(w, scales, strict=True))
        factors = torch.as_tensor(np.abs(w) * sd / scale.sd)
        return cls(scale, factors, (middle - scale.mean) / scale.sd, y, state, noise, trouble)

    @property
    def noise(self) -> float:
        """Return the noise variance in standardised units, the smallest where points differ."""
        return float((self.factors[:, None] ** 2 * self.noise_variance).sum(dim=0).min())

    @property
    def norm(self) -> float:
        """Return the norm of the posterior mean in the sum's own Hilbert space, standardised.

        In that of a sum of independent processes the squares add.
        """
        residual = self.y - self.state.mean[:, None]
        return math.sqrt(max(float((residual * self.state.alpha).sum()), 0.0))

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the noise-free score at `X`, ``(n,)`` each."""
        mean, variance = gp_posterior(self.state, torch.as_tensor(X, dtype=torch.float64))
        summed = (self.factors @ mean + self.shift).numpy()
        sd = (self.factors**2 @ variance).sqrt().numpy()
        return self.scale.restore(summed, sd)

    def joint(self, X: np.ndarray) -> np.ndarray:
        """Return the posterior covariance of the noise-free standardised score, ``(n, n)``."""
        rows = torch.as_tensor(X, dtype=torch.float64)
        spec, theta = self.state.spec, self.state.theta
        data = self.state.X.expand(len(theta), -1, -1)
        half = gp_kernel(rows, data, theta, spec) @ self.state.inverse.mT
        return self._added(gp_kernel(rows, rows, theta, spec) - half @ half.mT)

    def prior(self, X: np.ndarray) -> np.ndarray:
        """Return the prior covariance of the standardised score, ``(n, n)``."""
        rows = torch.as_tensor(X, dtype=torch.float64)
        return self._added(gp_kernel(rows, rows, self.state.theta, self.state.spec))

    def best_mean(self, X: np.ndarray) -> float:
        """Return the largest posterior mean among the rows, standardised."""
        return float(self.scale.standardise(self.predict(X)[0]).max())

    def believing(self, X: np.ndarray) -> SumSurrogate:
        """Return a copy that takes its own posterior mean at `X` for measured."""
        if not len(X):
            return self
        new = torch.as_tensor(X, dtype=torch.float64)
        _, theta, mean, *_ = self.state
        rows = torch.cat([self.state.X[0], new])
        y = torch.cat([self.y, gp_posterior(self.state, new)[0]], dim=1)
        least = self.noise_variance.min(dim=1, keepdim=True).values
        noise = torch.cat([self.noise_variance, least.expand(-1, len(new))], dim=1)
        with quiet(0):
            state = gp_condition(rows, y, theta, noise, mean, self.state.spec)
        return dataclasses.replace(self, y=y, state=state, noise_variance=noise)

    def landscape(
        self, goal: Goal, encoding: NativeEncoding, beyond: tuple[float, ...] = ()
    ) -> NativeLandscape:
        """Return an acquisition function over the rows of `encoding`."""
        if isinstance(goal, LogEI):
            goal = LogEI(goal.best - self.shift)
        return NativeLandscape(self.state, goal, encoding, beyond, self.factors)

    def _added(self, covariances: Tensor) -> np.ndarray:
        found: np.ndarray = torch.einsum("m,mij->ij", self.factors**2, covariances).numpy()
        return found
