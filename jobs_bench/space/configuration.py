"""One point of a search space: named, typed, immutable, and the same in JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping

from jobs_bench.errors import SpaceError


class Mixture(Mapping[str, float]):
    """Weights over named domains, each in ``[0, 1]``, summing to 1 within 1e-9."""

    __slots__ = ("_hash", "_weights")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = {str(name): float(w) for name, w in weights.items()}
        self._hash: int | None = None
        bad = {n: w for n, w in self._weights.items() if not (math.isfinite(w) and 0 <= w <= 1)}
        if bad:
            raise SpaceError(f"got the weights {bad}; wanted finite numbers in [0, 1]")
        total = math.fsum(self._weights.values())
        if abs(total - 1) > 1e-9:
            raise SpaceError(
                f"got weights that sum to {total:.12g}; wanted 1 (domains: {', '.join(self)})"
            )

    @classmethod
    def normalised(cls, weights: Mapping[str, float]) -> Mixture:
        """Return `weights`, finite and non-negative and not all zero, divided by their sum."""
        total = math.fsum(weights.values())
        if not (math.isfinite(total) and total > 0):
            raise SpaceError(f"got weights that sum to {total}; wanted a finite sum above 0")
        return cls({name: min(w / total, 1.0) for name, w in weights.items()})

    def __getitem__(self, name: str) -> float:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mixture):
            return self is other or self._weights == other._weights
        return Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        if self._hash is None:  # pools are looked up in sets, thousands of times a study
            self._hash = hash(frozenset(self._weights.items()))
        return self._hash

    def __repr__(self) -> str:
        return "Mixture(" + ", ".join(f"{n}={w:.4g}" for n, w in self.items()) + ")"


AxisValue = float | int | str | tuple[str, ...] | Mixture


class Configuration(Mapping[str, AxisValue]):
    """Axis names with their values; an axis whose condition does not hold is absent.

    Equal when names and values are equal; usable as a key. Values are ``float``, ``int``, ``str``
    (one choice), ``tuple[str, ...]`` (a subset) or `Mixture`.
    """

    __slots__ = ("_hash", "_key", "_values")

    def __init__(self, values: Mapping[str, AxisValue] | None = None) -> None:
        self._values: dict[str, AxisValue] = dict(values or {})
        self._hash: int | None = None
        self._key: str | None = None

    def __getitem__(self, name: str) -> AxisValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Configuration):
            return self is other or self._values == other._values
        return Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __repr__(self) -> str:
        return "Configuration(" + ", ".join(f"{n}={v!r}" for n, v in self.items()) + ")"

    def with_(self, values: Mapping[str, AxisValue]) -> Configuration:
        """Return a copy in which `values` replace or join the present ones."""
        return Configuration({**self._values, **values})

    def number(self, name: str, default: float | None = None) -> float:
        """Return a numeric value, or `default` where the axis is absent.

        Raises:
            SpaceError: Absent without a default, or not a number.
        """
        value = self._values.get(name, default)
        if not isinstance(value, (int, float)):
            raise SpaceError(f"got {name}={value!r}; wanted a number (there are: {list(self)})")
        return float(value)

    def mixture(self, name: str = "mixture") -> Mixture:
        """Return the mixture under `name`.

        Raises:
            SpaceError: There is none.
        """
        value = self._values.get(name)
        if not isinstance(value, Mixture):
            raise SpaceError(f"got {name}={value!r}; wanted a mixture (there are: {list(self)})")
        return value

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values: a mixture as an object, a subset as a list."""
        return {name: _plain(value) for name, value in self.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Configuration:
        """Return the configuration that `to_json` gave.

        Raises:
            SpaceError: A value of another kind.
        """
        return cls({name: _typed(name, value) for name, value in values.items()})

    def key(self) -> str:
        """Return 16 hexadecimal digits that name this configuration, the same on every machine."""
        if self._key is None:
            text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
            self._key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._key


def _plain(value: AxisValue) -> object:
    if isinstance(value, Mixture):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _typed(name: str, value: object) -> AxisValue:
    if isinstance(value, Mapping):
        return Mixture({str(n): float(w) for n, w in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(str(v) for v in value)
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    raise SpaceError(
        f"got {name}={value!r} ({type(value).__name__}); wanted a number, a name, a list of names "
        "or an object of weights"
    )
