"""The mixture axis: weights over domains, exact after thresholding and under repetition caps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs_bench.errors import SpaceError
from jobs_bench.space.axes import Block
from jobs_bench.space.configuration import AxisValue, Mixture


@dataclass(frozen=True, slots=True)
class Simplex:
    """Weights over `domains` that sum to 1.

    Attributes:
        domains: Distinct names, at least one.
        floor: Weights below it become 0 and the rest is renormalised, ``[0, 1 / len(domains)]``.
        caps: Largest share of each domain, ``(0, 1]`` each and summing to at least 1; empty: none.
            `share_caps` computes them from `max_epochs`.
        prior: Natural shares (by rows), empty: unknown.
        default: Shares of the default recipe, empty: uniform.
    """

    name: str
    domains: tuple[str, ...]
    floor: float = 0.0
    caps: tuple[float, ...] = ()
    prior: tuple[float, ...] = ()
    default: tuple[float, ...] = ()
    block: Block = "data"

    def __post_init__(self) -> None:
        k = len(self.domains)
        if k == 0 or len(set(self.domains)) != k:
            raise SpaceError(f"got {self.name} over {self.domains}; wanted distinct domain names")
        if not 0 <= self.floor <= 1 / k:
            raise SpaceError(f"got {self.name} with floor={self.floor}; wanted [0, {1 / k:.4g}]")
        for label, shares in (
            ("caps", self.caps),
            ("prior", self.prior),
            ("default", self.default),
        ):
            if shares and len(shares) != k:
                raise SpaceError(f"got {len(shares)} {label} for the {k} domains of {self.name}")
        if self.caps and not (all(0 < c <= 1 for c in self.caps) and math.fsum(self.caps) >= 1):
            raise SpaceError(
                f"got {self.name} with caps that sum to {math.fsum(self.caps):.4g}; wanted each in "
                "(0, 1] and a sum of at least 1: add rows, allow more epochs or train less"
            )

    @property
    def n_unit(self) -> int:
        """Return the number of domains less one."""
        return len(self.domains) - 1

    def default_value(self) -> Mixture:
        """Return the default shares, realised."""
        k = len(self.domains)
        shares = self.default or (1 / k,) * k
        return self.realise(Mixture.normalised(dict(zip(self.domains, shares, strict=True))))

    def check(self, value: object) -> Mixture:
        """Return `value` as a mixture over exactly `domains` that respects floor and caps."""
        if not isinstance(value, Mapping) or set(value) != set(self.domains):
            got = sorted(value) if isinstance(value, Mapping) else value
            raise SpaceError(f"got {self.name} over {got}; wanted the domains {self.domains}")
        mixture = Mixture({d: value[d] for d in self.domains})
        low = {d: w for d, w in mixture.items() if 0 < w < self.floor - 1e-9}
        if low:
            raise SpaceError(f"got {self.name} weights {low}; wanted 0 or at least {self.floor}")
        for (domain, weight), cap in zip(mixture.items(), self.caps, strict=False):
            if weight > cap + 1e-9:
                raise SpaceError(
                    f"got {self.name} weight {weight:.4g} for {domain}; wanted at most {cap:.4g}, "
                    "its share under max_epochs"
                )
        return mixture

    def realise(self, value: AxisValue) -> Mixture:
        """Return the nearest mixture that can be trained.

        Weights below `floor` become 0; the rest is renormalised; what exceeds a cap flows to the
        other domains in proportion to their weights (to the empty ones where all others are full).
        """
        if not isinstance(value, Mapping) or set(value) != set(self.domains):
            raise SpaceError(f"got {self.name}={value!r}; wanted the domains {self.domains}")
        weights = [max(float(value[d]), 0.0) for d in self.domains]
        total = math.fsum(weights)
        if not (math.isfinite(total) and total > 0):
            raise SpaceError(f"got {self.name} weights that sum to {total}; wanted above 0")
        weights = [w / total for w in weights]
        kept = [w if w >= self.floor - 1e-12 else 0.0 for w in weights]
        if self.caps:
            kept = _lift(_cap([k / math.fsum(kept) for k in kept], self.caps), self.floor)
        if abs(total - 1) < 1e-12 and all(
            abs(a - b) < 1e-12 and (a > 0) == (b > 0) for a, b in zip(kept, weights, strict=True)
        ):
            # untouched: keep every bit, so that realising twice is realising once
            return Mixture({d: max(float(value[d]), 0.0) for d in self.domains})
        return Mixture.normalised(dict(zip(self.domains, kept, strict=True)))

    def decode(self, u: Sequence[float]) -> Mixture:
        """Return the mixture at `u`: stick-breaking with Beta(1, k - i) quantiles.

        Uniform `u` give the uniform (Dirichlet(1, ..., 1)) distribution before flooring and
        caps, so a Sobol point set stays uniform on the simplex.
        """
        k = len(self.domains)
        left = 1.0
        weights: list[float] = []
        for i, x in enumerate(u):
            share = 1.0 - (1.0 - min(max(float(x), 0.0), 1.0)) ** (1.0 / (k - 1 - i))
            weights.append(left * share)
            left -= weights[-1]
        weights.append(max(left, 0.0))
        return self.realise(Mixture.normalised(dict(zip(self.domains, weights, strict=True))))

    def encode(self, value: AxisValue) -> list[float]:
        """Return the unit coordinates of `value`."""
        mixture = self.check(value)
        k = len(self.domains)
        left = 1.0
        u: list[float] = []
        for i, domain in enumerate(self.domains[:-1]):
            share = min(mixture[domain] / left, 1.0) if left > 1e-12 else 0.0
            u.append(1.0 - (1.0 - share) ** (k - 1 - i))
            left -= mixture[domain]
        return u


def share_caps(
    rows: Sequence[int], drawn: int, max_epochs: float | Sequence[float]
) -> tuple[float, ...]:
    """Return the largest share of each domain so that no row is drawn over `max_epochs` times.

    Args:
        rows: Rows of each domain, above 0.
        drawn: Rows that a full run draws.
        max_epochs: One limit, or one for each domain, above 0.

    Raises:
        SpaceError: The domains together cannot feed a full run.
    """
    limits = [max_epochs] * len(rows) if isinstance(max_epochs, (int, float)) else list(max_epochs)
    caps = tuple(min(1.0, e * n / drawn) for n, e in zip(rows, limits, strict=True))
    if math.fsum(caps) < 1:
        raise SpaceError(
            f"got {sum(rows)} rows and max_epochs={max_epochs} for a run that draws {drawn} rows; "
            "wanted enough rows to draw: add rows, allow more epochs or train less"
        )
    return caps


def _lift(weights: list[float], floor: float) -> list[float]:
    """Return `weights` (sum 1) with those in ``(0, floor)`` raised to `floor`.

    Capping may pour a small rest into an empty domain. What is raised is taken from the weights
    above the floor in proportion to their excess, which suffices since ``k * floor <= 1``.
    """
    low = {i for i, w in enumerate(weights) if 0 < w < floor - 1e-12}
    if not low:
        return weights
    need = math.fsum(floor - weights[i] for i in low)
    excess = [0.0 if i in low else max(w - floor, 0.0) for i, w in enumerate(weights)]
    scale = need / math.fsum(excess)
    return [
        floor if i in low else w - scale * e
        for i, (w, e) in enumerate(zip(weights, excess, strict=True))
    ]


def _cap(weights: list[float], caps: Sequence[float]) -> list[float]:
    """Return `weights` (sum 1) with the excess over `caps` spread over the rest."""
    full: set[int] = set()
    while True:
        over = {i for i, w in enumerate(weights) if i not in full and w > caps[i] + 1e-15}
        if not over:
            return weights
        full |= over
        rest = 1.0 - math.fsum(caps[i] for i in full)
        free = [i for i in range(len(weights)) if i not in full]
        mass = math.fsum(weights[i] for i in free)
        base = [weights[i] / mass if mass > 0 else caps[i] for i in free]
        scale = rest / math.fsum(base) if base else 0.0
        weights = [caps[i] if i in full else 0.0 for i in range(len(weights))]
        for i, b in zip(free, base, strict=True):
            weights[i] = b * scale
