"""Philox4x32-10, the counter-based generator behind every draw (plain reference).

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the constants are theirs
(Random123). A draw is a pure function of counter and key, so any position of any stream can be
computed on its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox(counter: tuple[U64, U64, U64, U64], key: tuple[U64, U64]) -> tuple[U64, U64, U64, U64]:
    """Return four 32-bit words (in uint64) for each counter; all arguments broadcast.

    Args:
        counter: Four words below ``2**32``.
        key: Two words below ``2**32``.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def split(x: U64) -> tuple[U64, U64]:
    """Return the low and the high 32 bits."""
    return x & _LOW, x >> _32
