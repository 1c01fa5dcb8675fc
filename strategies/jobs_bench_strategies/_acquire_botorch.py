"""Maximising a BoTorch acquisition function over a mixed space.

Raw configurations (Sobol points and perturbations of good ones) are scored in one batch; the best
few are improved in turns by a local search over integers, categories and flags, and by
BoTorch's `optimize_acqf` over weights and floats with the mixture's sum as an equality constraint.
BoTorch's own `optimize_acqf_mixed_alternating` also takes equality constraints, but knows neither
conditional axes nor realised values, and takes seconds where this takes a fraction of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.exceptions.errors import CandidateGenerationError
from botorch.optim.optimize import optimize_acqf
from scipy.stats import qmc

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding

_RAW_POWER = 8  # 2**8 Sobol points
_PERTURBED = 96
_STARTS = 3
_TURNS = 2
_DISCRETE_STEPS = 6
_CONTINUOUS_ITER = 30


class BotorchLandscape:
    """A `Landscape`; see there.

    Args:
        acquisition: Takes ``(batch, 1, d)`` rows of `encoding`.
        encoding: Of the configurations.
    """

    def __init__(self, acquisition: AcquisitionFunction, encoding: NativeEncoding) -> None:
        self.acquisition = acquisition
        self.encoding = encoding
        self.bounds = torch.as_tensor(encoding.bounds)
        self.weights = encoding.simplex_slices

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return the values at `rows`, ``(n, d)``, in one call; minus infinity where undefined."""
        with torch.no_grad():
            found: np.ndarray = self.acquisition(torch.as_tensor(rows).unsqueeze(1)).numpy()
        found[np.isnan(found)] = -np.inf
        return found

    def search(self, anchors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return local optima ``(k, d)`` and the raw rows ``(r, d)`` that the search began with."""
        raw = self._raw(np.random.default_rng(seed), anchors)
        values = self._values(raw)
        order = np.argsort(-values, kind="stable")
        found = [self._improve(raw[i], float(values[i])) for i in order[:_STARTS]]
        return self.encoding.encode_all(found), self.encoding.encode_all(raw)

    def _values(self, configs: Sequence[Configuration]) -> np.ndarray:
        return self.values(self.encoding.encode_all(configs))

    def _raw(self, rng: np.random.Generator, anchors: np.ndarray) -> list[Configuration]:
        space = self.encoding.space
        points = qmc.Sobol(space.n_unit, rng=rng).random_base2(_RAW_POWER)
        raw = [space.decode(u.tolist()) for u in points]
        for i in range(_PERTURBED if len(anchors) else 0):
            raw.append(self._perturb(rng, anchors[i % len(anchors)].copy()))
        return list(dict.fromkeys(raw))

    def _perturb(self, rng: np.random.Generator, row: np.ndarray) -> Configuration:
        moved = rng.random(len(row)) < max(0.3, 2 / len(row))
        scale = 10 ** rng.uniform(-2, -0.5)
        for i, column in enumerate(self.encoding.columns):
            if column.kind == "weight":
                row[i] = (np.sqrt(row[i]) + scale * rng.normal()) ** 2
            elif moved[i] and column.kind in ("float", "int"):
                row[i] = np.clip(row[i] + scale * rng.normal(), 0.0, 1.0)
            elif moved[i]:
                row[i] = rng.choice(column.levels)
        return self.encoding.decode(row)

    def _improve(self, config: Configuration, value: float) -> Configuration:
        for _ in range(_TURNS):
            before = value
            config, value = self._discrete(config, value)
            config, value = self._continuous(config, value)
            if value <= before + 1e-6:
                break
        return config

    def _discrete(self, config: Configuration, value: float) -> tuple[Configuration, float]:
        for _ in range(_DISCRETE_STEPS):
            near = self._neighbours(config)
            if not near:
                break
            values = self._values(near)
            i = int(np.argmax(values))
            if values[i] <= value + 1e-9:
                break
            config, value = near[i], float(values[i])
        return config, value

    def _neighbours(self, config: Configuration) -> list[Configuration]:
        row = self.encoding.encode(config)
        near: dict[Configuration, None] = {}
        for i, column in enumerate(self.encoding.columns):
            if not column.levels or column.axis not in config:
                continue
            levels = np.asarray(column.levels)
            at = int(np.argmin(np.abs(levels - row[i])))
            if column.kind == "int":
                jump = max(len(levels) // 8, 2)
                ways = {at - 1, at + 1, at - jump, at + jump, 0, len(levels) - 1}
            else:
                ways = set(range(len(levels)))
            for j in sorted(w for w in ways - {at} if 0 <= w < len(levels)):
                changed = row.copy()
                changed[i] = levels[j]
                near[self.encoding.decode(changed)] = None
        near.pop(config, None)
        return list(near)

    def _continuous(self, config: Configuration, value: float) -> tuple[Configuration, float]:
        row = self.encoding.encode(config)
        free = [
            i
            for i, c in enumerate(self.encoding.columns)
            if c.kind in ("weight", "float") and c.axis in config
        ]
        sums = []
        for where in self.weights:
            columns = range(where.start, where.stop)
            if len(columns) == 1 or columns[0] not in free:
                free = [i for i in free if i not in columns]
                continue
            sums.append(
                (torch.arange(where.start, where.stop), torch.ones(len(columns)).double(), 1.0)
            )
        if not free:
            return config, value
        fixed = {i: float(x) for i, x in enumerate(row) if i not in free}
        try:
            found, _ = optimize_acqf(
                self.acquisition,
                self.bounds,
                q=1,
                num_restarts=1,
                batch_initial_conditions=torch.as_tensor(row).view(1, 1, -1),
                equality_constraints=sums or None,
                fixed_features=fixed or None,
                options={"maxiter": _CONTINUOUS_ITER},
                retry_on_optimization_warning=False,
            )
        except CandidateGenerationError:
            return config, value
        x = found.view(-1).numpy()
        if not np.isfinite(x).all():
            return config, value
        moved = self.encoding.decode(x)
        got = float(self._values([moved])[0])
        return (moved, got) if got > value else (config, value)
