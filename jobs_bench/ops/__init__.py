"""Operators with a plain reference and a native fast path."""

from __future__ import annotations

from jobs_bench.ops._backend import backend_record, native_backends, require_native, why_no_native
from jobs_bench.ops._gp import (
    GpLikelihood,
    GpState,
    gp_condition,
    gp_kernel,
    gp_mll,
    gp_posterior,
)
from jobs_bench.ops._gp_spec import GpFidelity, GpParameter, GpSpec, GpTerm
from jobs_bench.ops._mix import freeze_weights, mix_counts, mix_indices

__all__ = [
    "GpFidelity",
    "GpLikelihood",
    "GpParameter",
    "GpSpec",
    "GpState",
    "GpTerm",
    "backend_record",
    "freeze_weights",
    "gp_condition",
    "gp_kernel",
    "gp_mll",
    "gp_posterior",
    "mix_counts",
    "mix_indices",
    "native_backends",
    "require_native",
    "why_no_native",
]
