"""Races against real peers, in turns within one process, and the limits of the machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

Race = Callable[..., None]


def _seconds(run: Callable[[], object], repeat: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - begin) / repeat


def _repeats(run: Callable[[], object]) -> int:
    """Calls that take 2 ms or more together."""
    if _seconds(run, 1) > 0.1:
        return 1
    return max(1, round(2e-3 / _seconds(run, 3)))


@pytest.fixture
def race(benchmark: BenchmarkFixture) -> Race:
    """Benchmark `ours`, in turns with `peer`; ratios of times go to ``extra_info``.

    ``work`` is what one call of ours does, in units of ``limit`` a second: their ratio is the share
    of the limit. ``what`` says what the two are.
    """

    def run(
        ours: Callable[[], object],
        peer: Callable[[], object],
        what: str,
        *,
        rounds: int = 15,
        work: float = 0.0,
        limit: float = 0.0,
        unit: str = "",
    ) -> None:
        mine, theirs = _repeats(ours), _repeats(peer)
        peers: list[float] = []
        own: list[float] = []

        def turn() -> None:
            peers.append(_seconds(peer, theirs))

        def several() -> None:
            own.append(_seconds(ours, mine))

        benchmark.pedantic(several, setup=turn, rounds=rounds)
        ms = statistics.median(own) * 1e3
        benchmark.extra_info |= {
            "what": what,
            "ours_ms": ms,
            "peer_ms": statistics.median(peers) * 1e3,
            "ratio": statistics.median(peers) / statistics.median(own),
            "ratio_best": min(peers) / min(own),
            "threads": torch.get_num_threads(),
        }
        if limit:
            benchmark.extra_info |= {
                "achieved": work / (ms * 1e-3),
                "limit": limit,
                "share": work / (ms * 1e-3) / limit,
                "unit": unit,
            }

    return run


@pytest.fixture(scope="session")
def gemm_rate() -> float:
    """Double-precision operations a second of this process's matrix product."""
    a = torch.rand((768, 768), dtype=torch.float64)
    return 2 * 768**3 / min(_seconds(lambda: a @ a, 1) for _ in range(20))


@pytest.fixture(scope="session")
def write_rate() -> float:
    """Bytes a second of this process's writes to memory."""
    a = torch.empty(8_000_000, dtype=torch.float64)
    return 8 * a.numel() / min(_seconds(lambda: a.fill_(1.0), 1) for _ in range(20))
