"""The Gaussian process behind the model-based strategies.

Rows are those of `NativeEncoding` (float64), with one more column for the step where a strategy
models several fidelities. Mixture weights pass through a square root inside the model, so that
gradients reach the weights themselves. Priors are those of BoTorch (lengthscales scaled with the
dimension, Hvarfner et al. 2024), fitted by maximum a posteriori from a fixed start: the fit is a
function of the data alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.transforms.input import InputTransform
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import AdditiveKernel, Kernel, MaternKernel, ProductKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from torch import Tensor

from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._quiet import quiet

_ROOT_EPS = 1e-8  # keeps the slope of the square root finite at empty domains
_MAX_ITER = 60

Mix = Literal["product", "paper"]


class Hellinger(InputTransform, torch.nn.Module):
    """Replaces the columns `weights` by their square roots."""

    def __init__(self, weights: Sequence[int]) -> None:
        super().__init__()
        self.weights = list(weights)
        self.transform_on_train = True
        self.transform_on_eval = True
        self.transform_on_fantasize = True
        self.is_one_to_many = False

    def transform(self, X: Tensor) -> Tensor:
        """Return `X`, ``(..., d)``, transformed."""
        if not self.weights:
            return X
        out = X.clone()
        out[..., self.weights] = X[..., self.weights].clamp_min(_ROOT_EPS).sqrt()
        return out


class DownTo(Kernel):
    """``1 + v (1 - t)(1 - t')`` over one column ``t`` in ``[0, 1]``: 1 at the horizon.

    Multiplied with a kernel over configurations it says that short runs see the horizon's landscape
    plus a deviation that fades towards the horizon (the linear truncated kernel of BoTorch,
    with the landscape's own lengthscales for the deviation).
    """

    def __init__(self, column: int) -> None:
        super().__init__(active_dims=(column,))
        self.register_parameter("raw_v", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
        self.register_constraint("raw_v", GreaterThan(1e-4, initial_value=0.3))
        self.register_prior("v_prior", GammaPrior(2.0, 5.0), _get_v, _set_v)

    @property
    def v(self) -> Tensor:
        """Return the variance of the deviation at ``t = 0``, relative to the landscape's."""
        v: Tensor = self.raw_v_constraint.transform(self.raw_v)
        return v

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: object) -> Tensor:
        """Return the covariance matrix, or its diagonal."""
        a, b = 1.0 - x1, 1.0 - x2
        if diag:
            return 1.0 + self.v * (a * b).squeeze(-1)
        return 1.0 + self.v * a @ b.transpose(-1, -2)


def _get_v(kernel: DownTo) -> Tensor:
    return kernel.v


def _set_v(kernel: DownTo, value: Tensor) -> None:
    kernel.initialize(raw_v=kernel.raw_v_constraint.inverse_transform(value))


def config_kernel(encoding: NativeEncoding, mix: Mix) -> Kernel:
    """Return a kernel over configurations.

    ``product``: Matern-5/2 with one lengthscale a column over weights, floats and integers, times
    ``exp(-weighted Hamming distance)`` over categories and flags. ``paper``: the sum of the two
    plus their product, as `MixedSingleTaskGP` and JoBS have it.
    """
    smooth = list(encoding.of_kind("weight", "float", "int"))
    names = list(encoding.of_kind("category", "flag"))
    cont = _matern(smooth) if smooth else None
    cat = _hamming(names) if names else None
    if cont is None or cat is None:
        return cont if cont is not None else cat
    if mix == "product":
        return ProductKernel(cont, cat)
    both = ProductKernel(_matern(smooth), _hamming(names))
    return AdditiveKernel(ScaleKernel(AdditiveKernel(cont, cat)), ScaleKernel(both))


def step_kernel(encoding: NativeEncoding) -> Kernel:
    """Return a kernel over (configuration, t), with t in column ``d``.

    A learning curve shared by all configurations, plus the configurations' landscape at the horizon
    with a deviation that grows towards short runs.
    """
    t = encoding.d
    trend = ScaleKernel(
        MaternKernel(nu=2.5, active_dims=(t,), lengthscale_prior=LogNormalPrior(0.0, 0.5)),
        outputscale_prior=GammaPrior(2.0, 1.0),
    )
    landscape = ScaleKernel(
        ProductKernel(config_kernel(encoding, "product"), DownTo(t)),
        outputscale_prior=GammaPrior(2.0, 2.0),
    )
    return AdditiveKernel(trend, landscape)


def _matern(columns: list[int]) -> Kernel:
    return get_covar_module_with_dim_scaled_prior(
        ard_num_dims=len(columns), use_rbf_kernel=False, active_dims=columns
    )


def _hamming(columns: list[int]) -> Kernel:
    return CategoricalKernel(
        ard_num_dims=len(columns),
        active_dims=columns,
        lengthscale_prior=LogNormalPrior(0.0, 1.0),
        lengthscale_constraint=GreaterThan(0.05, transform=None, initial_value=1.0),
    )


class Surrogate:
    """A fitted Gaussian process; scores in and out are in the task's own unit.

    Attributes:
        model: The BoTorch model, whose targets are standardised scores.
        X: Rows, ``(n, d)``.
        y: Standardised scores, ``(n,)``.
    """

    def __init__(self, X: np.ndarray, scores: np.ndarray, kernel: Kernel, roots: Sequence[int]):
        tamed = tame(scores)
        self._mean = float(tamed.mean())
        spread = float(tamed.std(ddof=1)) if len(tamed) > 1 else 0.0
        self._sd = spread if spread > 1e-12 else 1.0
        self.X = torch.as_tensor(X, dtype=torch.float64)
        self.y = torch.as_tensor((tamed - self._mean) / self._sd, dtype=torch.float64)
        # the fit's fallback draws from the priors; a fixed seed keeps it a function of the data
        with quiet(0):
            self.model: Any = SingleTaskGP(
                self.X,
                self.y.unsqueeze(-1),
                covar_module=kernel,
                outcome_transform=None,
                input_transform=Hellinger(roots),
            )
            mll = ExactMarginalLogLikelihood(self.model.likelihood, self.model)
            start = copy.deepcopy(self.model.state_dict())
            try:
                fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": _MAX_ITER}})
            except ModelFittingError:
                self.model.load_state_dict(start)  # the priors' modes: a usable, plain model
            self.model.eval()

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the noise-free score at `X`, ``(n,)`` each."""
        with quiet(0), torch.no_grad():
            posterior = self.model.posterior(torch.as_tensor(X, dtype=torch.float64))
            mean = posterior.mean.squeeze(-1).numpy() * self._sd + self._mean
            sd = posterior.variance.clamp_min(0).sqrt().squeeze(-1).numpy() * self._sd
        return mean, sd

    def joint(self, X: np.ndarray) -> np.ndarray:
        """Return the posterior covariance of the noise-free standardised score, ``(n, n)``."""
        with quiet(0), torch.no_grad():
            # without an outcome transform, whose posterior has no covariance
            rows = self.model.transform_inputs(torch.as_tensor(X, dtype=torch.float64))
            joint: MultivariateNormal = self.model(rows)
            cov: np.ndarray = joint.covariance_matrix.numpy()
        return cov

    @property
    def noise(self) -> float:
        """Return the noise variance in standardised units."""
        noise: Tensor = self.model.likelihood.noise_covar.noise
        return float(noise.detach().mean())

    def best_mean(self, X: np.ndarray) -> float:
        """Return the largest posterior mean among the rows, standardised: the incumbent's value."""
        mean, _ = self.predict(X)
        return float((mean.max() - self._mean) / self._sd)

    def believing(self, X: np.ndarray) -> Surrogate:
        """Return a copy that takes its own posterior mean at `X` for measured.

        The kriging believer (Ginsbourger et al. 2010) for points in flight and earlier picks of a
        batch: their variance goes, the mean stays.
        """
        if not len(X):
            return self
        mean, _ = self.predict(X)
        new = torch.as_tensor((mean - self._mean) / self._sd, dtype=torch.float64)
        twin = copy.copy(self)
        twin.X = torch.cat([self.X, torch.as_tensor(X, dtype=torch.float64)])
        twin.y = torch.cat([self.y, new])
        twin.model = copy.deepcopy(self.model)
        twin.model.train()
        twin.model.set_train_data(twin.X, twin.y, strict=False)
        twin.model.eval()
        return twin


def tame(scores: np.ndarray) -> np.ndarray:
    """Return `scores` with extremely bad ones raised to ``median - 5 (max - median)``.

    How bad a bad trial is says nothing about where the good ones are, and a single diverged
    loss would otherwise swallow the whole scale.
    """
    middle, top = float(np.median(scores)), float(scores.max())
    return np.maximum(scores, middle - 5 * (top - middle)) if top > middle else scores.copy()
