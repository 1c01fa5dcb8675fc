"""Scalar axes of a space: `Float`, `Int`, `Categorical`, `Subset`.

Every axis has a block (``data``, ``model`` or ``train``), a default, and a map from the unit cube:
`decode` turns `n_unit` numbers of ``[0, 1]`` into a value, `encode` returns a point that decodes to
the value it was given. Uniform numbers decode to uniform values (log-uniform where `log`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import AxisValue

Block = Literal["data", "model", "train"]


class Axis(Protocol):
    """What the space asks of an axis."""

    @property
    def name(self) -> str:
        """Name of the axis, unique in its space."""
        ...

    @property
    def block(self) -> Block:
        """Block it belongs to."""
        ...

    @property
    def n_unit(self) -> int:
        """Unit-cube dimensions it takes."""
        ...

    def default_value(self) -> AxisValue:
        """Return the value of the default recipe."""
        ...

    def check(self, value: object) -> AxisValue:
        """Return `value` when it lies on the axis, else raise `SpaceError`."""
        ...

    def realise(self, value: AxisValue) -> AxisValue:
        """Return the nearest value that can be trained (rounded, clipped, thresholded)."""
        ...

    def decode(self, u: Sequence[float]) -> AxisValue:
        """Return the value at `u`, ``(n_unit,)`` in ``[0, 1]``."""
        ...

    def encode(self, value: AxisValue) -> list[float]:
        """Return a ``(n_unit,)`` point of the unit cube that decodes to `value`."""
        ...


def _bounds(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpaceError(f"got {name} in [{low}, {high}]; wanted finite bounds, low below high")
    if log and low <= 0:
        raise SpaceError(f"got {name} in [{low}, {high}] on a log axis; wanted a low above 0")


def _clip(u: float) -> float:
    return min(max(float(u), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in ``[low, high]``, uniform or log-uniform."""

    name: str
    low: float
    high: float
    log: bool = False
    default: float | None = None
    block: Block = "model"

    def __post_init__(self) -> None:
        _bounds(self.name, self.low, self.high, self.log)
        if self.default is not None:
            self.check(self.default)

    @property
    def n_unit(self) -> int:
        """Return 1."""
        return 1

    def default_value(self) -> float:
        """Return the default, or the middle of the axis."""
        return self.decode([0.5]) if self.default is None else self.default

    def check(self, value: object) -> float:
        """Return `value` as a float when it lies in ``[low, high]``."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if self.low <= value <= self.high:
                return float(value)
        raise SpaceError(f"got {self.name}={value!r}; wanted a number in [{self.low}, {self.high}]")

    def realise(self, value: AxisValue) -> float:
        """Return `value` clipped to ``[low, high]``."""
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise SpaceError(f"got {self.name}={value!r}; wanted a number")
        return min(max(float(value), self.low), self.high)

    def decode(self, u: Sequence[float]) -> float:
        """Return the value at ``u[0]``."""
        t = _clip(u[0])
        if self.log:
            lo, hi = math.log(self.low), math.log(self.high)
            return self.realise(math.exp(lo + t * (hi - lo)))
        return self.realise(self.low + t * (self.high - self.low))

    def encode(self, value: AxisValue) -> list[float]:
        """Return the unit coordinate of `value`."""
        x = self.check(value)
        if self.log:
            return [math.log(x / self.low) / math.log(self.high / self.low)]
        return [(x - self.low) / (self.high - self.low)]


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in ``[low, high]``; each has its share of the unit interval."""

    name: str
    low: int
    high: int
    log: bool = False
    default: int | None = None
    block: Block = "model"

    def __post_init__(self) -> None:
        if self.low != self.high:
            _bounds(self.name, self.low, self.high, self.log)
        if self.default is not None:
            self.check(self.default)

    @property
    def n_unit(self) -> int:
        """Return 1."""
        return 1

    def default_value(self) -> int:
        """Return the default, or the middle of the axis."""
        return self.decode([0.5]) if self.default is None else self.default

    def check(self, value: object) -> int:
        """Return `value` when it is a whole number in ``[low, high]``."""
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        ):
            return value
        raise SpaceError(
            f"got {self.name}={value!r}; wanted a whole number in [{self.low}, {self.high}]"
        )

    def realise(self, value: AxisValue) -> int:
        """Return `value` rounded and clipped to ``[low, high]``."""
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise SpaceError(f"got {self.name}={value!r}; wanted a number")
        return int(min(max(round(value), self.low), self.high))

    def decode(self, u: Sequence[float]) -> int:
        """Return the value at ``u[0]``: cells of equal width, on a log axis of equal log-width."""
        t = _clip(u[0])
        lo, hi = self.low - 0.5, self.high + 0.5
        if self.log:
            return self.realise(math.exp(math.log(lo) + t * (math.log(hi) - math.log(lo))))
        return self.realise(math.floor(self.low + t * (self.high - self.low + 1)))

    def encode(self, value: AxisValue) -> list[float]:
        """Return the unit coordinate in the middle of the cell of `value`."""
        x = self.check(value)
        lo, hi = self.low - 0.5, self.high + 0.5
        if self.log:
            return [math.log(x / lo) / math.log(hi / lo)]
        return [(x - lo) / (hi - lo)]


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of several names, without order."""

    name: str
    choices: tuple[str, ...]
    default: str | None = None
    block: Block = "model"

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise SpaceError(f"got {self.name} with choices {self.choices}; wanted distinct names")
        if self.default is not None:
            self.check(self.default)

    @property
    def n_unit(self) -> int:
        """Return 1."""
        return 1

    def default_value(self) -> str:
        """Return the default, or the first choice."""
        return self.choices[0] if self.default is None else self.default

    def check(self, value: object) -> str:
        """Return `value` when it is one of the choices."""
        if isinstance(value, str) and value in self.choices:
            return value
        raise SpaceError(f"got {self.name}={value!r}; wanted one of {', '.join(self.choices)}")

    def realise(self, value: AxisValue) -> str:
        """Return `value` itself, checked."""
        return self.check(value)

    def decode(self, u: Sequence[float]) -> str:
        """Return the choice whose share of the unit interval holds ``u[0]``."""
        n = len(self.choices)
        return self.choices[min(int(_clip(u[0]) * n), n - 1)]

    def encode(self, value: AxisValue) -> list[float]:
        """Return the middle of the share of `value`."""
        return [(self.choices.index(self.check(value)) + 0.5) / len(self.choices)]


@dataclass(frozen=True, slots=True)
class Subset:
    """Any at least `min` of several names, in the order of `choices`; one unit dimension each."""

    name: str
    choices: tuple[str, ...]
    min: int = 1
    default: tuple[str, ...] | None = None
    block: Block = "model"

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise SpaceError(f"got {self.name} with choices {self.choices}; wanted distinct names")
        if not 0 <= self.min <= len(self.choices):
            raise SpaceError(f"got {self.name} with min={self.min} of {len(self.choices)} choices")
        if self.default is not None:
            self.check(self.default)

    @property
    def n_unit(self) -> int:
        """Return the number of choices."""
        return len(self.choices)

    def default_value(self) -> tuple[str, ...]:
        """Return the default, or everything."""
        return self.choices if self.default is None else self.default

    def check(self, value: object) -> tuple[str, ...]:
        """Return `value` in the order of `choices` when it is a large enough subset."""
        if isinstance(value, (tuple, list)) and set(value) <= set(self.choices):
            chosen = tuple(c for c in self.choices if c in value)
            if len(chosen) == len(value) and len(chosen) >= self.min:
                return chosen
        raise SpaceError(
            f"got {self.name}={value!r}; wanted at least {self.min} of {', '.join(self.choices)}"
        )

    def realise(self, value: AxisValue) -> tuple[str, ...]:
        """Return `value` in canonical order, checked."""
        return self.check(value)

    def decode(self, u: Sequence[float]) -> tuple[str, ...]:
        """Return the choices whose coordinate is at least 0.5, filled up with the largest ones."""
        by_size = sorted(range(len(self.choices)), key=lambda i: -float(u[i]))
        wanted = max(self.min, sum(float(x) >= 0.5 for x in u))
        return tuple(self.choices[i] for i in sorted(by_size[:wanted]))

    def encode(self, value: AxisValue) -> list[float]:
        """Return 0.75 for each chosen name and 0.25 for the others."""
        chosen = self.check(value)
        return [0.75 if c in chosen else 0.25 for c in self.choices]
