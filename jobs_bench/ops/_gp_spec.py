"""Which covariance a Gaussian process has: a sum of products, and what its parameters are.

    term(x, x') = scale * shape(r2 over smooth / lengthscales) * exp(-sum_k w_k [x_k != x'_k])
                  * product of fidelity factors

with t and t' the fidelity column of two rows, a factor is

    decay(power, lengthscale, offset)     offset + (1 + (t + t') / lengthscale) ** -power
    truncated(power)                      (1 - t) (1 - t') (1 + t t') ** power
    linear_truncated(bias, power)         1 + bias (1 - t) (1 - t') (1 + t t') ** power

The first is Swersky, Snoek and Adams, Freeze-Thaw Bayesian Optimization (2014), eq. 6; the others
are the biased part of the linear truncated kernel of Wu, Toscano-Palmerin, Frazier and Wilson,
Practical Multi-fidelity Bayesian Optimization (2019), section 5.3, as BoTorch has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from jobs_bench.errors import DataError

KINDS = ("matern12", "matern32", "matern52", "rbf")
FORMS = ("decay", "truncated", "linear_truncated")
MOST_FACTORS = 4
"""Fidelity factors of one term, at most."""

_FORM_ROLES = {
    "decay": ("power", "fidelity_lengthscale", "offset"),
    "truncated": ("power",),
    "linear_truncated": ("bias", "power"),
}
POSITIVE = ("lengthscale", "fidelity_lengthscale", "outputscale")
"""Roles whose parameters lie above 0; the others' are at least 0."""


class GpParameter(NamedTuple):
    """One entry of ``theta``.

    Attributes:
        role: ``lengthscale``, ``weight``, ``power``, ``fidelity_lengthscale``, ``offset``, ``bias``
            or ``outputscale``.
        term: Index of its term.
        column: Of the rows, -1 for an outputscale.
    """

    role: str
    term: int
    column: int


def _check(what: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise DataError(f"got {what} {got!r}; wanted one of {', '.join(known)}")


@dataclass(frozen=True)
class GpFidelity:
    """A factor over a fidelity column: at least 0 for ``decay``, else in [0, 1].

    Attributes:
        form: ``decay``, ``truncated`` or ``linear_truncated``.
        column: Of the rows.
    """

    form: str
    column: int

    def __post_init__(self) -> None:
        _check("form", self.form, FORMS)
        if self.column < 0:
            raise DataError(f"got fidelity column {self.column}; wanted at least 0")


@dataclass(frozen=True)
class GpTerm:
    """A product of factors.

    Attributes:
        kind: ``matern12``, ``matern32``, ``matern52`` or ``rbf``.
        smooth: Columns with a lengthscale each.
        names: Columns whose values only differ or not, with a Hamming weight each.
        fidelity: Further factors, at most `MOST_FACTORS`.
    """

    kind: str
    smooth: tuple[int, ...] = ()
    names: tuple[int, ...] = ()
    fidelity: tuple[GpFidelity, ...] = ()

    def __post_init__(self) -> None:
        _check("kind", self.kind, KINDS)
        columns = self.smooth + self.names
        if len(set(columns)) != len(columns) or any(k < 0 for k in columns):
            raise DataError(f"got columns {columns}; wanted distinct ones, at least 0")
        if len(self.fidelity) > MOST_FACTORS:
            raise DataError(
                f"got {len(self.fidelity)} fidelity factors; wanted at most {MOST_FACTORS} a term"
            )


@dataclass(frozen=True)
class GpSpec:
    """A covariance.

    Attributes:
        terms: What it is the sum of, at least one.
        roots: Columns that enter as ``sqrt(max(x, 1e-8))``: mixture weights on the sphere.
    """

    terms: tuple[GpTerm, ...]
    roots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise DataError("got no terms; wanted at least one")
        if len(set(self.roots)) != len(self.roots) or any(k < 0 for k in self.roots):
            raise DataError(f"got roots {self.roots}; wanted distinct columns, at least 0")

    @classmethod
    def product(
        cls,
        kind: str,
        smooth: tuple[int, ...] = (),
        names: tuple[int, ...] = (),
        fidelity: tuple[GpFidelity, ...] = (),
        roots: tuple[int, ...] = (),
    ) -> GpSpec:
        """Return a covariance of one term."""
        return cls((GpTerm(kind, smooth, names, fidelity),), roots)

    @cached_property
    def parameters(self) -> tuple[GpParameter, ...]:
        """Return what the entries of ``theta`` are, in order."""
        out: list[GpParameter] = []
        for q, term in enumerate(self.terms):
            out += [GpParameter("lengthscale", q, k) for k in term.smooth]
            out += [GpParameter("weight", q, k) for k in term.names]
            for factor in term.fidelity:
                out += [GpParameter(role, q, factor.column) for role in _FORM_ROLES[factor.form]]
            out.append(GpParameter("outputscale", q, -1))
        return tuple(out)

    @property
    def size(self) -> int:
        """Return P, the length of ``theta``."""
        return len(self.parameters)

    @cached_property
    def width(self) -> int:
        """Return how many columns rows must have at least."""
        used = [*self.roots]
        for term in self.terms:
            used += [*term.smooth, *term.names, *(factor.column for factor in term.fidelity)]
        return max(used, default=-1) + 1

    @cached_property
    def code(self) -> list[int]:
        """Return what the operators take; `decode` is its inverse."""
        out = [len(self.terms), len(self.roots), *self.roots]
        for term in self.terms:
            out += [KINDS.index(term.kind), len(term.smooth), *term.smooth]
            out += [len(term.names), *term.names, len(term.fidelity)]
            for factor in term.fidelity:
                out += [FORMS.index(factor.form), factor.column]
        return out

    @classmethod
    def decode(cls, code: Sequence[int]) -> GpSpec:
        """Return the covariance that `code` stands for.

        Raises:
            DataError: It stands for none.
        """
        rest = list(code)

        def take(count: int) -> list[int]:
            if not 0 <= count <= len(rest):
                raise DataError(f"got spec {list(code)}; wanted {count} more numbers")
            out, rest[:] = rest[:count], rest[count:]
            return out

        def columns() -> tuple[int, ...]:
            return tuple(take(take(1)[0]))

        def name(of: tuple[str, ...]) -> str:
            (at,) = take(1)
            if not 0 <= at < len(of):
                raise DataError(f"got {at} in spec {list(code)}; wanted 0 to {len(of) - 1}")
            return of[at]

        (count,) = take(1)
        roots = columns()
        terms = []
        for _ in range(count):
            kind, smooth, names = name(KINDS), columns(), columns()
            factors = [GpFidelity(name(FORMS), take(1)[0]) for _ in range(take(1)[0])]
            terms.append(GpTerm(kind, smooth, names, tuple(factors)))
        if rest:
            raise DataError(f"got spec {list(code)}; wanted {len(rest)} numbers less")
        return cls(tuple(terms), roots)
