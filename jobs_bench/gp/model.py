"""The package's Gaussian process as a BoTorch model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.gpytorch import GPyTorchModel
from botorch.models.model import FantasizeMixin
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.transformed import TransformedPosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator import to_linear_operator
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Size, Tensor

from jobs_bench.errors import DataError
from jobs_bench.gp.covariance import covariance
from jobs_bench.ops import GpPriors, GpSpec, GpState, gp_condition, gp_fit, gp_posterior

Noise = bool | Tensor


class NativeGP(GPyTorchModel, FantasizeMixin):
    """Independent exact Gaussian processes, one for each outcome, over `jobs_bench.ops`.

    Every BoTorch acquisition function takes it. Posteriors of single points come from the fused
    `gp_posterior`; joint ones, and those of models that were conditioned on rows that want
    gradients, from `gp_kernel` and dense algebra. Gradients reach the query and, through
    `condition_on_observations` and `fantasize`, added rows and outcomes: once, so that no Hessian
    can be taken. Parameters are constants: `fit` finds them. Values are float64 and untransformed;
    standardise outcomes before.

    Args:
        train_X: Rows, ``(*batch, n, d)``.
        train_Y: Outcomes, ``(*batch, n, m)``.
        spec: Of the covariance.
        theta: Its parameters, ``(*batch', m, P)``, ``*batch'`` broadcasting with ``*batch``.
        noise: Variances, ``(*batch', m, 1)``, or one for each row, ``(*batch', m, n)``.
        mean: Prior means, ``(*batch', m)``.

    Raises:
        DataError: Shapes that do not fit together.
    """

    _X: Tensor
    _Y: Tensor
    theta: Tensor
    noise: Tensor
    mean: Tensor

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        spec: GpSpec,
        theta: Tensor,
        noise: Tensor,
        mean: Tensor,
    ) -> None:
        super().__init__()
        n, m = train_Y.shape[-2:]
        fits = train_X.shape[-2] == n and theta.shape[-2:] == (m, spec.size)
        if not (fits and noise.shape[-2] == m and noise.shape[-1] in (1, n)):
            raise DataError(
                f"got train_X {tuple(train_X.shape)}, train_Y {tuple(train_Y.shape)}, theta "
                f"{tuple(theta.shape)}, noise {tuple(noise.shape)}; wanted (..., n, d), (..., n, m)"
                f", (..., m, {spec.size}), (..., m, 1 or n)"
            )
        if mean.shape[-1:] != (m,):
            raise DataError(f"got mean {tuple(mean.shape)}; wanted (..., {m})")
        self.spec = spec
        # rows are kept as they came: models conditioned on many outcomes share one factor
        self.register_buffer("_X", train_X)
        self.register_buffer("_Y", train_Y)
        self.register_buffer("theta", theta)
        self.register_buffer("noise", noise)
        self.register_buffer("mean", mean)
        self._states: dict[int, GpState] = {}
        self._solved: dict[int, tuple[Tensor, Tensor]] = {}
        self.eval()

    @classmethod
    def fit(
        cls,
        train_X: Tensor,
        train_Y: Tensor,
        spec: GpSpec,
        priors: GpPriors | None = None,
        *,
        train_Yvar: Tensor | None = None,
        restarts: int = 0,
        seed: int = 0,
    ) -> NativeGP:
        """Return the model of the parameters that `gp_fit` finds, each outcome's by itself.

        Args:
            train_X: Rows, ``(n, d)``.
            train_Y: Standardised outcomes, ``(n, m)``.
            spec: Of the covariance.
            priors: By default those of BoTorch for `spec`.
            train_Yvar: Known variances ``(n, m)``; the fitted noise is added to them.
            restarts: Searches from draws of the priors, beside that from their starts.
            seed: Of the draws.

        Raises:
            DataError: Arguments that do not fit together; no default priors for `spec`.
            RuntimeError, DataError: No start has a finite likelihood.
        """
        found = gp_fit(
            train_X,
            train_Y.mT.contiguous(),
            spec,
            priors or GpPriors.botorch(spec),
            known_noise=None if train_Yvar is None else train_Yvar.mT.contiguous(),
            restarts=restarts,
            seed=seed,
        )
        noise = found.noise.unsqueeze(-1)
        noise = noise if train_Yvar is None else noise + train_Yvar.mT
        return cls(train_X, train_Y, spec, found.theta, noise, found.mean)

    @property
    def num_outputs(self) -> int:
        """Return the number of outcomes, m."""
        return int(self._Y.shape[-1])

    @property
    def batch_shape(self) -> Size:
        """Return the shape of the batch of models."""
        each = (self._X, self._Y, self.theta, self.noise)
        return Size(torch.broadcast_shapes(*(t.shape[:-2] for t in each)))

    @property
    def train_inputs(self) -> tuple[Tensor]:
        """Return the rows, ``(*batch, n, d)``; of several outcomes ``(*batch, m, n, d)``."""
        shape = self.batch_shape
        if self.num_outputs == 1:
            return (self._X.expand(*shape, *self._X.shape[-2:]),)
        return (self._X.unsqueeze(-3).expand(*shape, self.num_outputs, *self._X.shape[-2:]),)

    @property
    def train_targets(self) -> Tensor:
        """Return the outcomes, ``(*batch, n)``; of several ``(*batch, m, n)``."""
        Y = self._Y.expand(*self.batch_shape, *self._Y.shape[-2:])
        return Y.squeeze(-1) if self.num_outputs == 1 else Y.mT

    def posterior(  # type: ignore[override]  # BoTorch's own base classes differ in the order
        self,
        X: Tensor,
        output_indices: Sequence[int] | None = None,
        observation_noise: Noise = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> GPyTorchPosterior | TransformedPosterior:
        """Return the joint posterior of q points, for every batch and outcome.

        Args:
            X: Rows, ``(*b, q, d)``.
            output_indices: Outcomes, by default all.
            observation_noise: Add the noise: True the model's (its mean over the rows), a tensor
                ``(..., 1 or q, m)`` these variances.
            posterior_transform: Applied to the result.

        Returns:
            Over ``(*broadcast(b, batch_shape), q, m)``.
        """
        chosen = range(self.num_outputs) if output_indices is None else output_indices
        each = [self._joint(X, output, observation_noise) for output in chosen]
        joint = (
            each[0] if len(each) == 1 else MultitaskMultivariateNormal.from_independent_mvns(each)
        )
        found = GPyTorchPosterior(joint)
        if posterior_transform is None:
            return found
        return cast(TransformedPosterior, posterior_transform(found, X=X))

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **_: Any
    ) -> NativeGP:
        """Return the model with more data and the same parameters.

        Args:
            X: Rows, ``(*b, q, d)``.
            Y: Outcomes, ``(*b', q, m)``; batch dimensions beyond those of `X` (fantasies) become
                ones of the model and share its factorisation.
            noise: Variances of the new outcomes, ``(..., 1 or q, m)``; by default the model's, its
                mean over the rows where each has its own.
        """
        rows = _joined(self._X, X, Size())
        outcomes = _joined(self._Y, Y, rows.shape[:-2])
        kept = self.noise
        if noise is not None or kept.shape[-1] != 1:
            n, q = self._X.shape[-2], X.shape[-2]
            new = kept.mean(-1, keepdim=True) if noise is None else noise.mT
            old = kept.expand(*kept.shape[:-1], n)
            kept = _joined(old.mT, new.expand(*new.shape[:-1], q).mT, Size()).mT
        return NativeGP(rows, outcomes, self.spec, self.theta, kept, self.mean)

    def fantasize(
        self,
        X: Tensor,
        sampler: MCSampler,
        observation_noise: Tensor | None = None,
        **options: Any,
    ) -> NativeGP:
        """Return the models conditioned on outcomes drawn at `X`, ``(*b, q, d)``.

        Args:
            X: Rows.
            sampler: Draws the outcomes; its sample shape comes first in the model's batch shape.
            observation_noise: Variances ``(..., 1 or q, m)`` of them, by default the model's.
            options: For `condition_on_observations`.
        """
        if X.shape[-2] == 0:
            shape = (*sampler.sample_shape, *torch.broadcast_shapes(X.shape[:-2], self.batch_shape))
            Y = X.new_empty((*shape, 0, self.num_outputs))
        else:
            given = True if observation_noise is None else observation_noise
            Y = sampler(self.posterior(X, observation_noise=given))
        return self.condition_on_observations(X, Y, noise=observation_noise, **options)

    def subset_output(self, idcs: Sequence[int]) -> NativeGP:
        """Return the model of some of the outcomes."""
        at = list(idcs)
        return NativeGP(
            self._X,
            self._Y[..., at],
            self.spec,
            self.theta[..., at, :],
            self.noise[..., at, :],
            self.mean[..., at],
        )

    def _joint(self, X: Tensor, output: int, observation_noise: Noise) -> MultivariateNormal:
        batch = torch.broadcast_shapes(X.shape[:-2], self.batch_shape)
        if X.shape[-2] == 1 and self._plain:
            flat, variance = gp_posterior(self._state(output), X.reshape(-1, X.shape[-1]))
            mean, joint = flat.reshape(*batch, 1), variance.reshape(*batch, 1, 1)
        else:
            mean, joint = self._dense(X, output)
            mean = mean.expand(*batch, -1)
        if observation_noise is not False:
            joint = joint + torch.diag_embed(self._added(output, observation_noise, X.shape[-2]))
        return MultivariateNormal(mean, to_linear_operator(joint.expand(*batch, *joint.shape[-2:])))

    def _added(self, output: int, noise: Noise, q: int) -> Tensor:
        """Return the variances ``(..., q)`` of new outcomes."""
        if isinstance(noise, Tensor):
            found = noise[..., output if noise.shape[-1] > 1 else 0]
        else:
            found = self.noise[..., output, :].mean(-1, keepdim=True)
        return found.expand(*found.shape[:-1], q)

    def _dense(self, X: Tensor, output: int) -> tuple[Tensor, Tensor]:
        """Return means ``(*b, q)`` and covariances ``(*b, q, q)``."""
        inverse, alpha = self._solution(output)
        theta = self.theta[..., output, :]
        across = covariance(X, self._X, theta, self.spec)
        V = across @ inverse.mT
        mean = self.mean[..., output, None] + (across @ alpha.unsqueeze(-1)).squeeze(-1)
        return mean, covariance(X, X, theta, self.spec) - V @ V.mT

    @property
    def _plain(self) -> bool:
        """Return whether this is one model of rows and outcomes that want no gradients."""
        return not (self.batch_shape or self._X.requires_grad or self._Y.requires_grad)

    def _state(self, output: int) -> GpState:
        if output not in self._states:
            noise = self.noise[output]
            self._states[output] = gp_condition(
                self._X,
                self._Y[:, output].contiguous(),
                self.theta[output],
                noise if noise.shape[0] == self._X.shape[-2] else noise[0],
                self.mean[output],
                self.spec,
            )
        return self._states[output]

    def _solution(self, output: int) -> tuple[Tensor, Tensor]:
        """Return the inverse of the Cholesky factor, ``(*b, n, n)``, and weights, ``(*b, n)``."""
        if self._plain:
            state = self._state(output)
            return state.inverse[0], state.alpha[0]
        if output in self._solved:
            return self._solved[output]
        noise = self.noise[..., output, :].expand(*self.noise.shape[:-2], self._X.shape[-2])
        K = covariance(self._X, self._X, self.theta[..., output, :], self.spec)
        L = psd_safe_cholesky(K + torch.diag_embed(noise))
        eye = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
        inverse = torch.linalg.solve_triangular(L, eye.expand(L.shape), upper=False)
        residual = (self._Y[..., output] - self.mean[..., output, None]).unsqueeze(-1)
        found = inverse, (inverse.mT @ (inverse @ residual)).squeeze(-1)
        # what was computed without gradients must not serve a call that wants them
        if torch.is_grad_enabled() or not (self._X.requires_grad or self._Y.requires_grad):
            self._solved[output] = found
        return found


def _joined(old: Tensor, new: Tensor, batch: Size) -> Tensor:
    """Return the rows of both, ``(*broadcast, n + q, k)``; `batch` broadcasts with them."""
    shape = torch.broadcast_shapes(old.shape[:-2], new.shape[:-2], batch)
    return torch.cat([t.expand(*shape, *t.shape[-2:]) for t in (old, new)], dim=-2)
