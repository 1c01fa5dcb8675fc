"""Which operators run natively: the compiled module, and what is recorded of it."""

from __future__ import annotations

import importlib
import os

import torch

from jobs_bench.errors import JobsBenchError, OptionError

lib = torch.library.Library("jobs_bench", "DEF")
"""Owner of every schema of the package; operators define theirs in it."""

NATIVE_OPS = (
    "mix_indices",
    "mix_counts",
    "mix_batch",
    "mix_pack",
    "gp_kernel",
    "gp_kernel_backward",
    "gp_mll",
    "gp_condition",
    "gp_posterior",
    "gp_fit",
)


def _load() -> str | None:
    try:
        importlib.import_module("jobs_bench._C")
    except ModuleNotFoundError as err:  # not built: fine. Built and broken: not fine.
        if err.name != "jobs_bench._C":
            raise
        return "jobs_bench._C was not built"
    return None


why_no_native: str | None = _load()
"""Why there is no compiled module, ``None`` when there is one."""


def native_backends() -> frozenset[str]:
    """Return the dispatch keys (``"CPU"``, ``"CUDA"``) for which every operator is compiled."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return frozenset(
        key
        for key in ("CPU", "CUDA")
        if all(has(f"jobs_bench::{name}", key) for name in NATIVE_OPS)
    )


def require_native() -> None:
    """Raise where ``JOBS_BENCH_REQUIRE_NATIVE`` asks for a backend that is not there.

    Raises:
        OptionError: The variable holds something other than ``cpu`` or ``cuda``.
        JobsBenchError: The backend is absent.
    """
    wanted = os.environ.get("JOBS_BENCH_REQUIRE_NATIVE", "")
    if not wanted:
        return
    if wanted not in ("cpu", "cuda"):
        raise OptionError(f"got JOBS_BENCH_REQUIRE_NATIVE={wanted!r}; wanted cpu or cuda")
    if wanted.upper() not in native_backends():
        there = ", ".join(sorted(native_backends())) or "none"
        raise JobsBenchError(
            f"JOBS_BENCH_REQUIRE_NATIVE={wanted}, but the native backends are: {there} "
            f"({why_no_native or 'built without it'})"
        )


def backend_record() -> dict[str, object]:
    """Return what goes into every study's manifest."""
    return {
        "native": sorted(native_backends()),
        "why_no_native": why_no_native,
    }
