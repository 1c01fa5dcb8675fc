"""What is believed of a Gaussian process's parameters before the data: priors, ranges, starts.

`GpPriors.botorch` holds the defaults of BoTorch 0.18, its lengthscales after Hvarfner, Hellsten and
Nardi, Vanilla Bayesian Optimization Performs Great in High Dimensions (2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from jobs_bench.errors import DataError
from jobs_bench.ops._gp_spec import POSITIVE, GpSpec

Numbers = NDArray[np.float64]

_TINY = 1e-6
"""Where positive parameters end that BoTorch bounds by 0 alone."""


def _check(name: str, value: float, above: bool = False) -> None:
    if not math.isfinite(value) or (above and value <= 0):
        raise DataError(f"got {name} {value}; wanted finite{' and above 0' if above else ''}")


@dataclass(frozen=True)
class LogNormal:
    """The logarithm is normal: density over ``(0, inf)``.

    Attributes:
        loc: Mean of the logarithm.
        scale: Its standard deviation, above 0.
    """

    loc: float
    scale: float

    def __post_init__(self) -> None:
        _check("loc", self.loc)
        _check("scale", self.scale, above=True)

    def log_density(self, x: float) -> float:
        """Return the log density at `x` > 0."""
        u = math.log(x)
        return -u - 0.5 * ((u - self.loc) / self.scale) ** 2 - _log_normaliser(self.scale)

    def slope(self, x: float) -> float:
        """Return the slope of the log density at `x` > 0."""
        return -(1.0 + (math.log(x) - self.loc) / self.scale**2) / x

    def quantile(self, u: Numbers) -> Numbers:
        """Return where a share `u` in (0, 1) of the mass lies below."""
        out: Numbers = np.exp(self.loc + self.scale * scipy.special.ndtri(u))
        return out

    @property
    def mode(self) -> float:
        """Return where the density is largest."""
        return math.exp(self.loc - self.scale**2)


@dataclass(frozen=True)
class Gamma:
    """Density ``x ** (concentration - 1) exp(-rate x)`` over ``(0, inf)``, normalised.

    Attributes:
        concentration: Above 0.
        rate: Above 0.
    """

    concentration: float
    rate: float

    def __post_init__(self) -> None:
        _check("concentration", self.concentration, above=True)
        _check("rate", self.rate, above=True)

    def log_density(self, x: float) -> float:
        """Return the log density at `x` > 0."""
        a, b = self.concentration, self.rate
        return a * math.log(b) - math.lgamma(a) + (a - 1.0) * math.log(x) - b * x

    def slope(self, x: float) -> float:
        """Return the slope of the log density at `x` > 0."""
        return (self.concentration - 1.0) / x - self.rate

    def quantile(self, u: Numbers) -> Numbers:
        """Return where a share `u` in (0, 1) of the mass lies below."""
        out: Numbers = (
            np.asarray(scipy.special.gammaincinv(self.concentration, u), dtype=float) / self.rate
        )
        return out


@dataclass(frozen=True)
class Normal:
    """Density over all numbers.

    Attributes:
        loc: Mean.
        scale: Standard deviation, above 0.
    """

    loc: float
    scale: float

    def __post_init__(self) -> None:
        _check("loc", self.loc)
        _check("scale", self.scale, above=True)

    def log_density(self, x: float) -> float:
        """Return the log density at `x`."""
        return -0.5 * ((x - self.loc) / self.scale) ** 2 - _log_normaliser(self.scale)

    def slope(self, x: float) -> float:
        """Return the slope of the log density at `x`."""
        return (self.loc - x) / self.scale**2

    def quantile(self, u: Numbers) -> Numbers:
        """Return where a share `u` in (0, 1) of the mass lies below."""
        out: Numbers = self.loc + self.scale * np.asarray(scipy.special.ndtri(u))
        return out


def _log_normaliser(scale: float) -> float:
    return math.log(scale) + 0.5 * math.log(2.0 * math.pi)


GpPrior = LogNormal | Gamma | Normal | None
"""A density over the parameter itself, not its logarithm; ``None``: flat."""

KINDS: tuple[type, ...] = (type(None), LogNormal, Gamma, Normal)
"""In the order of csrc/cpu/prior.h."""


@dataclass(frozen=True)
class GpBox:
    """One parameter. Where ``low > 0`` it is searched in its logarithm.

    Attributes:
        low: Least value.
        high: Largest value, may be infinite; that of `low`: the parameter is fixed.
        start: Where the search starts.
        prior: Density over the parameter.
    """

    low: float
    high: float
    start: float
    prior: GpPrior = None

    def __post_init__(self) -> None:
        if not (self.low <= self.start <= self.high and math.isfinite(self.start)):
            raise DataError(
                f"got start {self.start} in [{self.low}, {self.high}]; wanted it finite and inside"
            )
        if isinstance(self.prior, LogNormal | Gamma) and self.low <= 0:
            raise DataError(f"got low {self.low} with {self.prior}; wanted a low above 0")

    def quantile(self, u: Numbers) -> Numbers:
        """Return a draw for each `u` in (0, 1), moved into the box.

        Of the prior; without one log-normal about the start, or the start where ``low <= 0``.
        """
        if self.prior is not None:
            drawn = self.prior.quantile(u)
        elif self.low > 0:
            drawn = LogNormal(math.log(self.start), 1.0).quantile(u)
        else:
            drawn = np.full_like(u, self.start)
        return np.clip(drawn, self.low, self.high)

    @classmethod
    def fixed(cls, value: float) -> GpBox:
        """Return a parameter that keeps its value."""
        return cls(value, value, value)

    @classmethod
    def positive(cls, start: float = math.log(2.0), prior: GpPrior = None) -> GpBox:
        """Return a parameter above 0 as GPyTorch's ``Positive`` has it."""
        return cls(_TINY, math.inf, start, prior)

    @classmethod
    def lengthscale(cls, columns: int) -> GpBox:
        """Return BoTorch's dimension-scaled lengthscale, of a term over so many columns."""
        prior = LogNormal(math.sqrt(2.0) + 0.5 * math.log(columns), math.sqrt(3.0))
        return cls(0.025, math.inf, max(prior.mode, 0.025), prior)

    @classmethod
    def hamming(cls, columns: int) -> GpBox:
        """Return a Hamming weight ``w = 1 / (columns l)`` with ``l >= 0.05``, started at ``l = 1``.

        The prior is LogNormal(0, 1) over ``l``: written as a density over w it is the one given
        here, but for the constant ``2 - log(columns)`` in its logarithm.
        """
        prior = LogNormal(2.0 - math.log(columns), 1.0)
        return cls(_TINY, 20.0 / columns, 1.0 / columns, prior)


@dataclass(frozen=True)
class GpPriors:
    """What is believed of all parameters of a model.

    Attributes:
        theta: One box for each of `GpSpec.parameters`.
        noise: Of the noise variance; ``low`` above 0.
        mean: Of the constant prior mean.
        tied: Pairs (i, j), j < i: ``theta[i]`` takes the value of ``theta[j]``, its own box unused.
    """

    theta: tuple[GpBox, ...]
    noise: GpBox
    mean: GpBox
    tied: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.noise.low <= 0:
            raise DataError(f"got a noise from {self.noise.low}; wanted a low above 0")
        followers = {i for i, _ in self.tied}
        for i, j in self.tied:
            if (
                not 0 <= j < i < len(self.theta)
                or j in followers
                or len(followers) != len(self.tied)
            ):
                raise DataError(
                    f"got tie {(i, j)}; wanted two indices of {len(self.theta)} parameters, the"
                    " second before the first and not tied itself"
                )

    @property
    def boxes(self) -> tuple[GpBox, ...]:
        """Return P + 2 boxes: of theta, noise and mean."""
        return (*self.theta, self.noise, self.mean)

    @property
    def leaders(self) -> list[int]:
        """Return whose value each of P + 2 parameters takes."""
        tied = dict(self.tied)
        return [tied.get(k, k) for k in range(len(self.boxes))]

    def check(self, spec: GpSpec) -> None:
        """Raise `DataError` where these are not priors over the parameters of `spec`."""
        if len(self.theta) != spec.size:
            raise DataError(f"got priors of {len(self.theta)} parameters; wanted {spec.size}")
        for k, (parameter, led) in enumerate(zip(spec.parameters, self.leaders, strict=False)):
            low, above = self.theta[led].low, parameter.role in POSITIVE
            if not (low > 0 if above else low >= 0):
                raise DataError(
                    f"got a box from {low} for theta[{k}], a {parameter.role}; wanted a low "
                    f"{'above' if above else 'of at least'} 0"
                )

    @classmethod
    def botorch(cls, spec: GpSpec) -> GpPriors:
        """Return BoTorch's defaults for the models that it has.

        One term of smooth columns: `SingleTaskGP`; with a ``decay`` factor:
        `SingleTaskMultiFidelityGP` without ``linear_truncated``. Named columns alone, or the terms
        smooth, named, and both: `MixedSingleTaskGP`. Two terms, the second with a ``truncated``
        factor: `SingleTaskMultiFidelityGP`. Moreover one term of both sorts of columns, which
        BoTorch has no model of: `GpBox.lengthscale` and `GpBox.hamming`. The mean is free, the
        noise LogNormal(-4, 1) of at least 1e-4.

        Raises:
            DataError: None of these.
        """
        noise = LogNormal(-4.0, 1.0)
        theta, tied = _botorch_theta(spec)
        return cls(
            theta,
            GpBox(1e-4, math.inf, noise.mode, noise),
            GpBox(-math.inf, math.inf, 0.0),
            tied,
        )


def _botorch_theta(spec: GpSpec) -> tuple[tuple[GpBox, ...], tuple[tuple[int, int], ...]]:
    terms = spec.terms
    forms = [tuple(f.form for f in t.fidelity) for t in terms]
    sorts = [(bool(t.smooth), bool(t.names)) for t in terms]
    if len(terms) == 1 and forms[0] in ((), ("decay",)) and any(sorts[0]):
        scale = GpBox.fixed(1.0) if terms[0].smooth else GpBox.positive()
        names = GpBox.hamming(len(terms[0].names)) if all(sorts[0]) else None
        return _boxes(spec, scales=[scale], names=names), ()
    if sorts == [(True, False), (False, True), (True, True)] and not any(forms):
        start = math.log(2.0)
        scales = [GpBox.positive(start), GpBox.positive(start**2), GpBox.positive(start)]
        return _boxes(spec, scales=scales), ()
    if sorts == [(True, False)] * 2 and forms == [(), ("truncated",)]:
        scale = GpBox.positive(prior=Gamma(2.0, 0.15))
        lengths = [GpBox.positive(prior=Gamma(3.0, 6.0)), GpBox.positive(prior=Gamma(6.0, 2.0))]
        theta = _boxes(spec, scales=[scale, scale], lengths=lengths)
        return theta, ((spec.size - 1, len(terms[0].smooth)),)
    raise DataError(
        f"got terms {terms}; wanted those of SingleTaskGP, MixedSingleTaskGP or "
        "SingleTaskMultiFidelityGP, or one product: give the boxes one by one"
    )


def _boxes(
    spec: GpSpec,
    *,
    scales: list[GpBox],
    lengths: list[GpBox] | None = None,
    names: GpBox | None = None,
) -> tuple[GpBox, ...]:
    out = []
    for role, q, _ in spec.parameters:
        term = spec.terms[q]
        if role == "lengthscale":
            out.append(lengths[q] if lengths else GpBox.lengthscale(len(term.smooth)))
        elif role == "weight":
            out.append(names or _categorical(len(term.names)))
        elif role == "outputscale":
            out.append(scales[q])
        elif term.fidelity[0].form == "truncated":
            out.append(GpBox.positive(prior=Gamma(3.0, 3.0)))
        else:
            out.append(GpBox.positive(prior=Gamma(3.0, 6.0)))
    return tuple(out)


def _categorical(columns: int) -> GpBox:
    """Return ``1 / (columns l)`` of BoTorch's categorical kernel, whose l starts at log 2."""
    return GpBox(_TINY, 1e6 / columns, 1.0 / (columns * (math.log(2.0) + 1e-6)))
