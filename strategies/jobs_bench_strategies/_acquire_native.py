"""Maximising an acquisition function by `jobs_bench.ops.optimise_acquisition`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jobs_bench.ops import (
    Acquisition,
    GpState,
    acquisition,
    optimise_acquisition,
)
from jobs_bench.space.native import NativeEncoding
from jobs_bench_strategies._design import widened
from jobs_bench_strategies._surrogate import Goal, LogEI

_DRAWN = 256
_PERTURBED = 96
_RESTARTS = 8
_MAX_ITER = 100


class NativeLandscape:
    """A `Landscape`; see there.

    Uniform rows and perturbations of the anchors are scored, the best few improved. A mixture's
    floor is no constraint of the search: what it finds is realised afterwards. With several models
    in the state it is over their sum with `weights`, ``(M,)``.
    """

    def __init__(
        self,
        state: GpState,
        goal: Goal,
        encoding: NativeEncoding,
        beyond: tuple[float, ...],
        weights: Tensor | None = None,
    ) -> None:
        self._state = state
        self._weights = weights
        self._goal = (
            Acquisition("log_ei", best=goal.best)
            if isinstance(goal, LogEI)
            else Acquisition("ucb", beta=goal.beta)
        )
        self._design = widened(encoding.space, beyond)
        self._beyond = np.asarray(beyond, dtype=np.float64)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return the values at `rows`, ``(n, d)``, in one call; minus infinity where undefined."""
        found: np.ndarray = acquisition(
            self._state, self._whole(rows), self._goal, weights=self._weights
        ).numpy()
        return np.where(np.isnan(found), -np.inf, found)

    def search(self, anchors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return local optima ``(k, d)`` and the raw rows ``(r, d)`` that the search began with."""
        raw = self._design.draw(_DRAWN, seed)
        if len(anchors):
            good = self._whole(anchors)
            raw = torch.cat([raw, self._design.draw(_PERTURBED, seed + 1, around=good)])
        found, _ = optimise_acquisition(
            self._state,
            self._goal,
            self._design,
            starts=raw,
            weights=self._weights,
            restarts=_RESTARTS,
            max_iter=_MAX_ITER,
        )
        d = raw.shape[1] - len(self._beyond)
        improved, begun = (rows[:, :d].numpy() for rows in (found, raw))
        return improved, begun

    def _whole(self, rows: np.ndarray) -> Tensor:
        beyond = np.broadcast_to(self._beyond, (len(rows), len(self._beyond)))
        return torch.as_tensor(np.concatenate([rows, beyond], axis=1))
