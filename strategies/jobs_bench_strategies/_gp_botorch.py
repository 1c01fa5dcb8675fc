"""Surrogates computed by BoTorch.

Mixture weights pass through a square root inside the model, so that gradients reach the weights
themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.transforms.input import InputTransform
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import AdditiveKernel, Kernel, MaternKernel, ProductKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from torch import Tensor

from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._acquire_botorch import BotorchLandscape
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._scaling import Scale, tame
from jobs_bench_strategies._surrogate import Covariance, Goal, LogEI, NoisyEI

_ROOT_EPS = 1e-8  # keeps the slope of the square root finite at empty domains
_MAX_ITER = 60
_DRAWS = 128  # of the posterior, where an acquisition function samples it


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


def _kernel(encoding: NativeEncoding, covariance: Covariance) -> Kernel:
    smooth = list(encoding.of_kind("weight", "float", "int"))
    names = list(encoding.of_kind("category", "flag"))
    if covariance == "predicted":
        return ProductKernel(_product(smooth, names), DownTo(encoding.d))
    if covariance == "steps":
        return _steps(encoding.d, _product(smooth, names))
    if covariance == "paper" and smooth and names:
        # as MixedSingleTaskGP nests them: the scales of the three parts are free
        parts = AdditiveKernel(_matern(smooth), ScaleKernel(_hamming(names)))
        return AdditiveKernel(ScaleKernel(parts), ScaleKernel(_product(smooth, names)))
    return _product(smooth, names)


def _product(smooth: list[int], names: list[int]) -> Kernel:
    if not names:
        return _matern(smooth)
    return ProductKernel(_matern(smooth), _hamming(names)) if smooth else _hamming(names)


def _steps(t: int, configs: Kernel) -> Kernel:
    trend = ScaleKernel(
        MaternKernel(nu=2.5, active_dims=(t,), lengthscale_prior=LogNormalPrior(0.0, 0.5)),
        outputscale_prior=GammaPrior(2.0, 1.0),
    )
    landscape = ScaleKernel(
        ProductKernel(configs, DownTo(t)), outputscale_prior=GammaPrior(2.0, 2.0)
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


class BotorchSurrogate:
    """A `Surrogate`; see there.

    Args:
        model: The BoTorch model, whose targets are standardised scores.
        scale: Of the scores.
        X: Rows, ``(n, d)``.
        y: Standardised scores, ``(n,)``.
        trouble: Why the fit failed, empty if it did not.
    """

    def __init__(self, model: Any, scale: Scale, X: Tensor, y: Tensor, trouble: str) -> None:
        self.model = model
        self.scale = scale
        self.X = X
        self.y = y
        self.trouble = trouble

    @classmethod
    def fit(
        cls, X: np.ndarray, scores: np.ndarray, covariance: Covariance, encoding: NativeEncoding
    ) -> BotorchSurrogate:
        """Return the surrogate of `scores` at `X`; where the fit fails, that of the priors."""
        tamed = tame(scores)
        scale = Scale.of(tamed)
        rows = torch.as_tensor(X, dtype=torch.float64)
        y = torch.as_tensor(scale.standardise(tamed), dtype=torch.float64)
        trouble = ""
        # the fit's fallback draws from the priors; a fixed seed keeps it a function of the data
        with quiet(0):
            model = SingleTaskGP(
                rows,
                y.unsqueeze(-1),
                covar_module=_kernel(encoding, covariance),
                outcome_transform=None,
                input_transform=Hellinger(
                    () if covariance == "paper" else encoding.of_kind("weight")
                ),
            )
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            start = copy.deepcopy(model.state_dict())
            try:
                fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": _MAX_ITER}})
            except ModelFittingError as err:
                model.load_state_dict(start)  # the priors' modes: a usable, plain model
                trouble = str(err)
            model.eval()
        return cls(model, scale, rows, y, trouble)

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the noise-free score at `X`, ``(n,)`` each."""
        return self.scale.restore(*self._standardised(X))

    def _standardised(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with quiet(0), torch.no_grad():
            posterior = self.model.posterior(torch.as_tensor(X, dtype=torch.float64))
            mean = posterior.mean.squeeze(-1).numpy()
            sd = posterior.variance.clamp_min(0).sqrt().squeeze(-1).numpy()
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
        """Return the largest posterior mean among the rows, standardised."""
        return float(self._standardised(X)[0].max())

    def believing(self, X: np.ndarray) -> BotorchSurrogate:
        """Return a copy that takes its own posterior mean at `X` for measured."""
        if not len(X):
            return self
        rows = torch.cat([self.X, torch.as_tensor(X, dtype=torch.float64)])
        y = torch.cat([self.y, torch.as_tensor(self._standardised(X)[0], dtype=torch.float64)])
        model = copy.deepcopy(self.model)
        model.train()
        model.set_train_data(rows, y, strict=False)
        model.eval()
        return BotorchSurrogate(model, self.scale, rows, y, self.trouble)

    def landscape(
        self, goal: Goal | NoisyEI, encoding: NativeEncoding, beyond: tuple[float, ...] = ()
    ) -> BotorchLandscape:
        """Return an acquisition function over the rows of `encoding`."""
        acquisition: AcquisitionFunction
        if isinstance(goal, NoisyEI):
            with quiet(0):
                acquisition = qLogNoisyExpectedImprovement(
                    self.model,
                    torch.as_tensor(goal.baseline),
                    sampler=SobolQMCNormalSampler(torch.Size([_DRAWS]), seed=0),
                    X_pending=torch.as_tensor(goal.pending) if len(goal.pending) else None,
                )
        elif isinstance(goal, LogEI):
            acquisition = LogExpectedImprovement(self.model, goal.best)
        else:
            acquisition = UpperConfidenceBound(self.model, beta=goal.beta)
        if beyond:
            columns = list(range(encoding.d, encoding.d + len(beyond)))
            acquisition = FixedFeatureAcquisitionFunction(
                acquisition, encoding.d + len(beyond), columns, list(beyond)
            )
        return BotorchLandscape(acquisition, encoding)
