"""A covariance of `jobs_bench.ops` as a GPyTorch kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gpytorch.constraints import Interval, Positive
from gpytorch.kernels import Kernel
from gpytorch.priors import Prior
from torch import Size, Tensor

from jobs_bench.errors import DataError
from jobs_bench.gp.covariance import covariance, covariance_of_pairs
from jobs_bench.ops import GpSpec


class SpecKernel(Kernel):
    """The covariance of a `GpSpec`, trainable by GPyTorch and BoTorch.

    It goes wherever a kernel does: alone or inside a ``ScaleKernel``, in an ``ExactGP``, under
    ``fit_gpytorch_mll``. The parameters of each role that `GpSpec.parameters` has, in the order of
    the terms, are one raw parameter ``(*batch_shape, count)``: ``raw_lengthscale``, ``raw_weight``,
    ``raw_power``, ``raw_fidelity_lengthscale``, ``raw_offset``, ``raw_bias``, ``raw_outputscale``.
    Gradients are those of `jobs_bench.ops.gp_kernel`: to parameters and rows, once. Inside a
    ``ScaleKernel`` one outputscale is too many: ``kernel.raw_outputscale.requires_grad_(False)``.

    Args:
        spec: Of the covariance; its columns count within `active_dims`.
        batch_shape: Of the parameters.
        active_dims: Columns of the rows that it sees, by default all.
        priors: Of the parameters of a role, each.
        constraints: Of the parameters of a role, by default above 0.

    Raises:
        DataError: A prior or constraint for a role that `spec` does not have.
    """

    def __init__(
        self,
        spec: GpSpec,
        *,
        batch_shape: Size = Size(),  # noqa: B008  # immutable, and GPyTorch's own default
        active_dims: tuple[int, ...] | None = None,
        priors: Mapping[str, Prior] | None = None,
        constraints: Mapping[str, Interval] | None = None,
    ) -> None:
        super().__init__(batch_shape=batch_shape, active_dims=active_dims)
        self.spec = spec
        self._places: dict[str, list[int]] = {}
        for place, parameter in enumerate(spec.parameters):
            self._places.setdefault(parameter.role, []).append(place)
        order = [place for places in self._places.values() for place in places]
        self._order = sorted(range(len(order)), key=order.__getitem__)
        for what, given in (("priors", priors or {}), ("constraints", constraints or {})):
            if not set(given) <= set(self._places):
                raise DataError(
                    f"got {what} for {', '.join(sorted(set(given) - set(self._places)))}; this "
                    f"covariance has {', '.join(self._places)}"
                )
        for role, places in self._places.items():
            raw = torch.zeros(*batch_shape, len(places), dtype=torch.float64)
            self.register_parameter(f"raw_{role}", torch.nn.Parameter(raw))
            self.register_constraint(f"raw_{role}", (constraints or {}).get(role, Positive()))
            if priors and role in priors:
                self.register_prior(f"{role}_prior", priors[role], *_accessors(role))

    @property
    def is_stationary(self) -> bool:
        """Return whether a covariance depends on the difference of two rows alone."""
        return not (self.spec.roots or any(term.fidelity for term in self.spec.terms))

    def of_role(self, role: str) -> Tensor:
        """Return the parameters of a role, ``(*batch_shape, count)``."""
        found: Tensor = self.constraint_for_parameter_name(f"raw_{role}").transform(
            getattr(self, f"raw_{role}")
        )
        return found

    @property
    def lengthscale(self) -> Tensor:
        """Return all lengthscales, ``(*batch_shape, count)``."""
        return self.of_role("lengthscale")

    @property
    def theta(self) -> Tensor:
        """Return the parameters as `jobs_bench.ops` takes them, ``(*batch_shape, P)``."""
        parts = torch.cat([self.of_role(role) for role in self._places], dim=-1)
        return parts[..., self._order]

    @theta.setter
    def theta(self, value: Tensor) -> None:
        """Set all parameters, from ``(P,)`` or ``(*batch_shape, P)``."""
        for role, places in self._places.items():
            self.set_role(role, value[..., places])

    def set_role(self, role: str, value: Tensor) -> None:
        """Set the parameters of a role."""
        raw = getattr(self, f"raw_{role}")
        value = torch.as_tensor(value, dtype=raw.dtype, device=raw.device).expand(raw.shape)
        constraint = self.constraint_for_parameter_name(f"raw_{role}")
        self.initialize(**{f"raw_{role}": constraint.inverse_transform(value)})

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Return covariances ``(*b, n, m)`` of rows, or with `diag` ``(*b, n)`` of pairs of them.

        Raises:
            DataError: Rows that are not float64 or do not fit; ``last_dim_is_batch``.
        """
        if params.get("last_dim_is_batch"):
            raise DataError("got last_dim_is_batch; a covariance over named columns has no such")
        return (covariance_of_pairs if diag else covariance)(x1, x2, self.theta, self.spec)


def _accessors(role: str) -> tuple[Any, Any]:
    """Return what reads and what sets the parameters of a role, for a prior."""

    def read(kernel: SpecKernel) -> Tensor:
        return kernel.of_role(role)

    def write(kernel: SpecKernel, value: Tensor) -> None:
        kernel.set_role(role, value)

    return read, write
