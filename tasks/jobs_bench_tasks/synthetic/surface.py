"""What a configuration scores at a step: the formulas of the synthetic family.

Coordinates. A mixture `w` is read by its square roots ``u = sqrt(w)``, the other axes by their unit
coordinates `c` (log axes in the log, a category as its place in a fixed random order).

Limit. The best mixture depends on the configuration: ``w*(c)`` is proportional to ``w0 exp(I B (c -
c0))`` with a random matrix `B` and the interaction dial `I`, and the limit is

    limit(w, c) = -|sqrt(w) - sqrt(w*(c))|^2 - |D (c - c0)|^2 / d

with a diagonal `D` of unequal curvatures. Its optimum is 0 at ``(w0, c0)``. With ``I = 0`` data and
configuration can be tuned apart; otherwise the mixture that is best at another configuration is not
``w0``.

Curve. With ``h(t)`` falling as a power law from 1 at the lowest step to 0 at the horizon,

    score(t) = limit - h(t) (gap + s g(w, c))

where `g` is a smooth random field that does not know the limit and `s` is set so that, over uniform
draws, scores at the lowest step correlate with those at the horizon by the dial `correlation`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from jobs_bench.space.axes import Categorical
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space

_SAMPLE = 2048  # uniform draws that the dials are set on
_WAVES = 24
_DECAY = 0.5  # exponent of the power law
_GAP = 1.0  # of the shared learning curve, in standard deviations of the limit


@dataclass(frozen=True)
class Surface:
    """One problem.

    Attributes:
        space: One mixture and any other axes, without conditions.
        steps: Allowed steps, at least two.
        interaction: Dial `I`, at least 0; at 1 a unit step in `c` changes log weights by about 1.
        correlation: Of scores at the lowest step with those at the horizon, ``(0, 1]``.
        noise: Standard deviation of a score, in those of the limit over uniform draws.
        seed: Of everything random.
    """

    space: Space
    steps: tuple[int, ...]
    interaction: float
    correlation: float
    noise: float
    seed: int

    @property
    def _mixture(self) -> Simplex:
        return self.space.simplexes[0]

    @cached_property
    def _random(self) -> dict[str, np.ndarray]:
        """Return the random parts, in an order of drawing that the dials do not change."""
        rng = np.random.default_rng([20260, self.seed])
        k = len(self._mixture.domains)
        d = self.space.n_unit - (k - 1)
        return {
            "w0": rng.dirichlet(np.full(k, 2.0)),
            "c0": rng.uniform(0.2, 0.8, size=d),
            "tilt": rng.normal(size=(k, d)),
            "curvature": rng.permutation(np.geomspace(0.5, 2.0, max(d, 1)))[:d],
            "waves": rng.normal(size=(_WAVES, k + d)) * 2.0,
            "phases": rng.uniform(0, 2 * math.pi, size=_WAVES),
            "orders": rng.random(size=64),
        }

    def coordinates(self, config: Configuration) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights ``(k,)`` and the other axes' unit coordinates ``(d,)``."""
        mixture = config[self._mixture.name]
        assert isinstance(mixture, Mixture)
        others: list[float] = []
        for axis in self.space.axes:
            if isinstance(axis, Simplex):
                continue
            value = config[axis.name]
            if isinstance(axis, Categorical):
                n = len(axis.choices)
                order = np.argsort(self._random["orders"][:n], kind="stable")
                others.append((int(order[axis.choices.index(str(value))]) + 0.5) / n)
            else:
                others.extend(axis.encode(value))
        weights = np.asarray([mixture[d] for d in self._mixture.domains])
        return weights, np.asarray(others)

    def best_weights(self, others: np.ndarray) -> np.ndarray:
        """Return ``w*(c)``, ``(k,)``."""
        tilt = self.interaction * self._random["tilt"] @ (others - self._random["c0"])
        raw = self._random["w0"] * np.exp(tilt - tilt.max())
        best: np.ndarray = raw / raw.sum()
        return best

    def limit(self, config: Configuration) -> float:
        """Return the score at the horizon without noise, at most 0."""
        return self._limit(*self.coordinates(config))

    def _limit(self, weights: np.ndarray, others: np.ndarray) -> float:
        gap = np.sqrt(weights) - np.sqrt(self.best_weights(others))
        away = self._random["curvature"] * (others - self._random["c0"])
        return -float(gap @ gap + away @ away / max(len(others), 1))

    def score(self, config: Configuration, step: int) -> float:
        """Return the noise-free score at `step`."""
        return self.curve(config, (step,))[0]

    def curve(self, config: Configuration, steps: Sequence[int]) -> list[float]:
        """Return the noise-free scores at `steps`."""
        weights, others = self.coordinates(config)
        limit = self._limit(weights, others)
        scales = self._scales
        explained = scales.slope * (limit - scales.limit_mean)
        # g: mean 0, standard deviation 1, uncorrelated with the limit
        g = (self._wave(weights, others) - scales.wave_mean - explained) / scales.residual
        drop = scales.limit_sd * (_GAP + math.sqrt(1 / self.correlation**2 - 1) * g)
        return [limit - self.fade(step) * drop for step in steps]

    def fade(self, step: int) -> float:
        """Return ``h``: 1 at the lowest step, 0 at the horizon."""
        low, top = self.steps[0], self.steps[-1]
        first = (low / top) ** -_DECAY - 1
        return float(((max(step, low) / top) ** -_DECAY - 1) / first)

    def noisy(self, config: Configuration, steps: Sequence[int], seed: int) -> list[float]:
        """Return the scores at `steps` of the run with training seed `seed`."""
        sd = self.noise_sd
        clean = self.curve(config, steps)
        return [x + sd * normal(self.seed, seed, s) for x, s in zip(clean, steps, strict=True)]

    @property
    def noise_sd(self) -> float:
        """Return the standard deviation of a score over training seeds."""
        return self.noise * self._scales.limit_sd

    @cached_property
    def _scales(self) -> _Scales:
        rng = np.random.default_rng([20261, self.seed])
        drawn = [self.coordinates(self.space.sample(rng)) for _ in range(_SAMPLE)]
        limits = np.asarray([self._limit(*at) for at in drawn])
        waves = np.asarray([self._wave(*at) for at in drawn])
        slope = float(np.cov(limits, waves)[0, 1] / limits.var(ddof=1))
        residual = waves - waves.mean() - slope * (limits - limits.mean())
        return _Scales(
            float(limits.mean()),
            float(limits.std()),
            float(waves.mean()),
            slope,
            float(residual.std()),
        )

    def _wave(self, weights: np.ndarray, others: np.ndarray) -> float:
        at = np.concatenate([np.sqrt(weights), others])
        return float(np.cos(self._random["waves"] @ at + self._random["phases"]).sum())


class _Scales(NamedTuple):
    """Moments over uniform draws; `slope` and `residual` regress the raw field on the limit."""

    limit_mean: float
    limit_sd: float
    wave_mean: float
    slope: float
    residual: float


def uniform(*parts: object) -> float:
    """Return a number in ``[0, 1)`` that is a function of `parts` alone."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


def normal(*parts: object) -> float:
    """Return a standard normal number that is a function of `parts` alone (Box and Muller)."""
    radius = math.sqrt(-2 * math.log(1 - uniform("radius", *parts)))
    return radius * math.cos(2 * math.pi * uniform("angle", *parts))
