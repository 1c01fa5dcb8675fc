"""The engines that compute surrogates, and the choice between them."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from jobs_bench.errors import OptionError
from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._gp_botorch import BotorchSurrogate
from jobs_bench_strategies._gp_native import NativeSurrogate
from jobs_bench_strategies._surrogate import Covariance, Surrogate

EngineName = Literal["native", "botorch"]


class Engine(Protocol):
    """Fits a surrogate."""

    def __call__(
        self, X: np.ndarray, scores: np.ndarray, covariance: Covariance, encoding: NativeEncoding
    ) -> Surrogate:
        """Return the surrogate of `scores`, ``(n,)`` with n at least 2, at rows `X`."""
        ...


_ENGINES: dict[str, Engine] = {"native": NativeSurrogate.fit, "botorch": BotorchSurrogate.fit}


def engine_called(name: str) -> Engine:
    """Return the engine called `name`.

    ``native``: the operators of `jobs_bench.ops`, compiled, or their plain references where nothing
    was compiled (the manifest of a study says which); tens of times faster. ``botorch``: the same
    model, fitted and searched by BoTorch.

    Raises:
        OptionError: There is no such engine.
    """
    if name not in _ENGINES:
        raise OptionError(f"got engine={name}; wanted one of {', '.join(_ENGINES)}")
    return _ENGINES[name]
