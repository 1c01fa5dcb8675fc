"""A frame for numeric work: one thread, own torch seed, no warnings; everything restored after."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from botorch.exceptions.warnings import BotorchWarning
from linear_operator.utils.warnings import NumericalWarning


@contextmanager
def quiet(seed: int) -> Iterator[None]:
    """Run the body on one thread with torch seeded by `seed`, and restore the global state.

    One thread because the matrices are small: with several threads on a busy machine the same calls
    take five to ten times as long.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # an optimiser that stops early still returns its best point: not the user's concern
        warnings.simplefilter("ignore", BotorchWarning)
        warnings.simplefilter("ignore", NumericalWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        torch.default_generator.manual_seed(seed)  # of the CPU alone, as what is restored
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
