"""Operators with a plain reference and a native fast path."""

from __future__ import annotations

from jobs_bench.ops._backend import backend_record, native_backends, require_native, why_no_native
from jobs_bench.ops._mix import freeze_weights, mix_counts, mix_indices

__all__ = [
    "backend_record",
    "freeze_weights",
    "mix_counts",
    "mix_indices",
    "native_backends",
    "require_native",
    "why_no_native",
]
