"""Surrogates computed by `jobs_bench.ops`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import (
    Gamma,
    GpBox,
    GpFidelity,
    GpPriors,
    GpSpec,
    GpState,
    GpTerm,
    LogNormal,
    gp_condition,
    gp_fit,
    gp_kernel,
    gp_posterior,
)
from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._acquire_native import NativeLandscape
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._scaling import Scale, tame
from jobs_bench_strategies._surrogate import Covariance, Goal

_KIND = "matern52"
_START = math.log(2.0)  # of GPyTorch's parameters that have no other


@dataclass(frozen=True, slots=True)
class NativeSurrogate:
    """A `Surrogate`; see there.

    Attributes:
        scale: Of the scores.
        X: Rows, ``(n, d)``.
        y: Standardised scores, ``(n,)``.
        state: The process after them.
        noise_variance: ``()``, or ``(n,)`` where some of it was known point by point.
        trouble: Why the fit failed, empty if it did not.
    """

    scale: Scale
    X: Tensor
    y: Tensor
    state: GpState
    noise_variance: Tensor
    trouble: str

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        scores: np.ndarray,
        covariance: Covariance,
        encoding: NativeEncoding,
        known: np.ndarray | None = None,
    ) -> NativeSurrogate:
        """Return the surrogate of `scores` at `X`; where the fit fails, that of the priors.

        `known` are variances ``(n,)`` of the scores, in their unit squared; a common one is fitted
        on top of them.
        """
        return cls.believed(X, scores, *covariance_of(encoding, covariance), known)

    @classmethod
    def believed(
        cls,
        X: np.ndarray,
        scores: np.ndarray,
        spec: GpSpec,
        priors: GpPriors,
        known: np.ndarray | None = None,
    ) -> NativeSurrogate:
        """Return the surrogate under another covariance and what is believed of its parameters."""
        tamed = tame(scores)
        scale = Scale.of(tamed)
        rows = torch.as_tensor(X, dtype=torch.float64)
        y = torch.as_tensor(scale.standardise(tamed), dtype=torch.float64)
        given = None if known is None else torch.as_tensor(known / scale.sd**2)
        trouble = ""
        with quiet(0):
            try:
                found = gp_fit(rows, y, spec, priors, known_noise=given)
                theta, noise, mean = found.theta, found.noise, found.mean
            except (DataError, RuntimeError) as err:
                *start, noise, mean = torch.tensor([b.start for b in priors.boxes]).double()
                theta, trouble = torch.stack(start), str(err)
            noise = noise if given is None else noise + given
            state = gp_condition(rows, y, theta, noise, mean, spec)
        return cls(scale, rows, y, state, noise, trouble)

    @property
    def noise(self) -> float:
        """Return the noise variance in standardised units, the smallest where points differ."""
        return float(self.noise_variance.min())

    @property
    def norm(self) -> float:
        """Return the norm of the posterior mean in the kernel's Hilbert space, standardised."""
        residual = (self.y - self.state.mean[0]).numpy()
        weights = self.state.alpha[0].numpy().reshape(-1)
        return math.sqrt(max(float(residual @ weights), 0.0))

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the noise-free score at `X`, ``(n,)`` each."""
        mean, variance = gp_posterior(self.state, torch.as_tensor(X, dtype=torch.float64))
        return self.scale.restore(mean.numpy(), variance.sqrt().numpy())

    def joint(self, X: np.ndarray) -> np.ndarray:
        """Return the posterior covariance of the noise-free standardised score, ``(n, n)``."""
        rows = torch.as_tensor(X, dtype=torch.float64)
        spec, theta = self.state.spec, self.state.theta[0]
        half = gp_kernel(rows, self.X, theta, spec) @ self.state.inverse[0].mT
        found: np.ndarray = (gp_kernel(rows, rows, theta, spec) - half @ half.mT).numpy()
        return found

    def prior(self, X: np.ndarray) -> np.ndarray:
        """Return the prior covariance of the standardised score, ``(n, n)``."""
        rows = torch.as_tensor(X, dtype=torch.float64)
        found: np.ndarray = gp_kernel(rows, rows, self.state.theta[0], self.state.spec).numpy()
        return found

    def best_mean(self, X: np.ndarray) -> float:
        """Return the largest posterior mean among the rows, standardised."""
        mean, _ = gp_posterior(self.state, torch.as_tensor(X, dtype=torch.float64))
        return float(mean.max())

    def with_data(self, X: np.ndarray, scores: np.ndarray) -> NativeSurrogate:
        """Return the process with these parameters after other data, without a fit."""
        tamed = tame(scores)
        scale = Scale.of(tamed)
        rows = torch.as_tensor(X, dtype=torch.float64)
        y = torch.as_tensor(scale.standardise(tamed), dtype=torch.float64)
        noise = self.noise_variance.min()
        with quiet(0):
            theta, mean = self.state.theta[0], self.state.mean[0]
            state = gp_condition(rows, y, theta, noise, mean, self.state.spec)
        return NativeSurrogate(scale, rows, y, state, noise, self.trouble)

    def believing(self, X: np.ndarray) -> NativeSurrogate:
        """Return a copy that takes its own posterior mean at `X` for measured."""
        if not len(X):
            return self
        new = torch.as_tensor(X, dtype=torch.float64)
        rows = torch.cat([self.X, new])
        y = torch.cat([self.y, gp_posterior(self.state, new)[0]])
        _, theta, mean, *_ = self.state
        noise = self.noise_variance
        if noise.ndim:
            noise = torch.cat([noise, noise.min().expand(len(new))])
        with quiet(0):
            state = gp_condition(rows, y, theta[0], noise, mean[0], self.state.spec)
        return dataclasses.replace(self, X=rows, y=y, state=state, noise_variance=noise)

    def landscape(
        self, goal: Goal, encoding: NativeEncoding, beyond: tuple[float, ...] = ()
    ) -> NativeLandscape:
        """Return an acquisition function over the rows of `encoding`."""
        return NativeLandscape(self.state, goal, encoding, beyond)


def covariance_of(encoding: NativeEncoding, covariance: Covariance) -> tuple[GpSpec, GpPriors]:
    """Return a covariance over rows of `encoding` and what is believed of its parameters."""
    smooth = encoding.of_kind("weight", "float", "int")
    names = encoding.of_kind("category", "flag")
    roots = () if covariance == "paper" else encoding.of_kind("weight")
    both = GpTerm(_KIND, smooth, names)
    t = encoding.d
    landscape = dataclasses.replace(both, fidelity=(GpFidelity("linear_truncated", t),))
    if covariance == "predicted":
        return _believed(GpSpec((landscape,), roots), scales=[GpBox.fixed(1.0)])
    if covariance == "steps":
        trend = GpTerm(_KIND, (t,))
        return _believed(
            GpSpec((trend, landscape), roots),
            scales=[GpBox.positive(prior=Gamma(2.0, 1.0)), GpBox.positive(prior=Gamma(2.0, 2.0))],
            lengths={0: GpBox.positive(prior=LogNormal(0.0, 0.5))},
        )
    if covariance == "paper" and smooth and names:
        terms = (GpTerm(_KIND, smooth), GpTerm(_KIND, (), names), both)
        starts = (_START, _START**2, _START)  # MixedSingleTaskGP nests the second in the first
        return _believed(GpSpec(terms, roots), scales=[GpBox.positive(s) for s in starts])
    return _believed(GpSpec((both,), roots), scales=[GpBox.fixed(1.0)])


def _believed(
    spec: GpSpec, scales: list[GpBox], lengths: dict[int, GpBox] | None = None
) -> tuple[GpSpec, GpPriors]:
    boxes = []
    for role, q, _ in spec.parameters:
        term = spec.terms[q]
        if role == "lengthscale":
            boxes.append((lengths or {}).get(q) or GpBox.lengthscale(len(term.smooth)))
        elif role == "weight":
            boxes.append(GpBox.hamming(len(term.names)))
        elif role == "bias":
            boxes.append(GpBox(1e-4, math.inf, 0.3, Gamma(2.0, 5.0)))
        elif role == "power":
            boxes.append(GpBox.fixed(0.0))
        else:
            boxes.append(scales[q])
    noise = LogNormal(-4.0, 1.0)
    return spec, GpPriors(
        tuple(boxes),
        GpBox(1e-4, math.inf, noise.mode, noise),
        GpBox(-math.inf, math.inf, 0.0),
    )
