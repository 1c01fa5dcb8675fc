"""Time the CUDA operators beside the CPU's and beside plain torch on the same GPU; see gpu.sh.

One JSON line a case: medians in seconds over interleaved rounds, and the ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from jobs_bench import ops
from jobs_bench.ops import _gp_reference as reference

D, ROUNDS = 20, 7
SPEC = ops.GpSpec.product("matern52", tuple(range(D)))


def _seconds(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _interleaved(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median of each call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name].append(_seconds(call))
    return {f"{name}_s": statistics.median(t) for name, t in times.items()}


def _record(case: str, medians: dict[str, float], **facts: object) -> None:
    ours = medians["cuda_s"]
    ratios = {
        f"{name[:-2]}_over_cuda": seconds / ours
        for name, seconds in medians.items()
        if name != "cuda_s"
    }
    sys.stdout.write(json.dumps({"schema": 1, "case": case, **facts, **medians, **ratios}) + "\n")


def likelihoods(n: int, models: int) -> None:
    """Value and every gradient of `models` likelihoods of `n` points."""
    g = torch.Generator().manual_seed(0)
    X = torch.rand((models, n, D), generator=g, dtype=torch.float64)
    y = torch.randn((models, n), generator=g, dtype=torch.float64)
    theta = 0.5 + torch.rand((models, SPEC.size), generator=g, dtype=torch.float64)
    here = (X, y, theta, torch.full((models, 1), 0.1).double(), torch.zeros(models).double())
    there = (here[0].cuda(), here[1].cuda(), here[2].cuda(), here[3].cuda(), here[4].cuda())
    op = torch.ops.jobs_bench.gp_mll.default
    calls: dict[str, Callable[[], object]] = {
        "cuda": lambda: op(*there, SPEC.code, False),
        "cpu": lambda: op(*here, SPEC.code, False),
        # the same mathematics in torch's kernels, cuBLAS and cuSOLVER on the same GPU
        "torch_cuda": lambda: reference.likelihood(*there, SPEC.code, False),
    }
    _record("gp_mll", _interleaved(calls), n=n, models=models, threads=torch.get_num_threads())


def draws(n: int) -> None:
    """`n` positions of 16 streams over 64 domains."""
    g = torch.Generator().manual_seed(0)
    weights = torch.tensor(
        [ops.freeze_weights(torch.rand(64, generator=g).tolist()) for _ in range(16)]
    )
    sizes = torch.full((64,), 10**6)
    there = (weights.cuda(), sizes.cuda())
    seeds, starts = list(range(16)), [10**9] * 16
    calls: dict[str, Callable[[], object]] = {
        "cuda": lambda: ops.mix_indices(*there, seeds, starts, n),
        "cpu": lambda: ops.mix_indices(weights, sizes, seeds, starts, n),
    }
    _record("mix_indices", _interleaved(calls), n=n, streams=16, domains=64)


if __name__ == "__main__":
    ops.require_native()
    for points, count in ((50, 1), (50, 64), (50, 512), (128, 64), (512, 16), (1024, 4), (2048, 1)):
        likelihoods(points, count)
    for positions in (4096, 1 << 20):
        draws(positions)
