"""The search space: axes in blocks, with conditions between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jobs_bench.errors import SpaceError, UnknownNameError
from jobs_bench.space.axes import Axis, Block
from jobs_bench.space.configuration import AxisValue, Configuration
from jobs_bench.space.simplex import Simplex


@dataclass(frozen=True, slots=True)
class Condition:
    """Axis `child` exists only where `parent` has one of `values`."""

    child: str
    parent: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """A search space.

    Attributes:
        axes: In order; a condition's parent stands before its child.
        conditions: At most one for each child.
        fixed: Values of axes that are not searched here; conditions look them up. A configuration
            of this space holds its own axes only; `complete` adds the fixed ones.
    """

    axes: tuple[Axis, ...]
    conditions: tuple[Condition, ...] = ()
    fixed: Configuration = field(default_factory=Configuration)

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names) or set(names) & set(self.fixed):
            raise SpaceError(
                f"got axes {names} and fixed {list(self.fixed)}; wanted distinct names"
            )
        seen = set(self.fixed)
        by_child = {c.child: c for c in self.conditions}
        for name in names:
            condition = by_child.get(name)
            if condition is not None and condition.parent not in seen:
                raise SpaceError(
                    f"axis {name} depends on {condition.parent}, which is not before it"
                )
            seen.add(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the axis names in order."""
        return tuple(axis.name for axis in self.axes)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks that have an axis, in order of first appearance."""
        return tuple(dict.fromkeys(axis.block for axis in self.axes))

    @property
    def simplexes(self) -> tuple[Simplex, ...]:
        """Return the mixture axes."""
        return tuple(axis for axis in self.axes if isinstance(axis, Simplex))

    @property
    def n_unit(self) -> int:
        """Return the dimension of the unit cube."""
        return sum(axis.n_unit for axis in self.axes)

    def axis(self, name: str) -> Axis:
        """Return the axis called `name`.

        Raises:
            UnknownNameError: There is none.
        """
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise UnknownNameError("axis", name, self.names)

    def is_active(self, name: str, values: Mapping[str, AxisValue]) -> bool:
        """Return whether axis `name` exists beside `values`."""
        for condition in self.conditions:
            if condition.child == name:
                parent = values.get(condition.parent, self.fixed.get(condition.parent))
                return parent in condition.values
        return True

    def build(self, values: Mapping[str, AxisValue]) -> Configuration:
        """Return `values` realised, inactive axes dropped, missing active ones at their default.

        Raises:
            UnknownNameError: A name that is no axis.
            SpaceError: A value of another kind.
        """
        for name in values:
            if name not in self.names:
                raise UnknownNameError("axis", name, self.names)
        built: dict[str, AxisValue] = {}
        for axis in self.axes:
            if self.is_active(axis.name, built):
                got = values.get(axis.name)
                built[axis.name] = axis.default_value() if got is None else axis.realise(got)
        return Configuration(built)

    def default(self) -> Configuration:
        """Return the default recipe."""
        return self.build({})

    def check(self, config: Mapping[str, AxisValue]) -> Configuration:
        """Return `config` when it is a point of this space.

        Raises:
            SpaceError: A missing, surplus or inactive axis, or a value outside its axis.
        """
        for name in config:
            if name not in self.names:
                raise UnknownNameError("axis", name, self.names)
        checked: dict[str, AxisValue] = {}
        for axis in self.axes:
            active = self.is_active(axis.name, checked)
            if active != (axis.name in config):
                state = "missing" if active else "given although its condition does not hold"
                raise SpaceError(f"axis {axis.name} is {state} in {dict(config)}")
            if active:
                checked[axis.name] = axis.check(config[axis.name])
        return Configuration(checked)

    def decode(self, u: Sequence[float]) -> Configuration:
        """Return the configuration at `u`, ``(n_unit,)`` in ``[0, 1]``."""
        if len(u) != self.n_unit:
            raise SpaceError(f"got {len(u)} unit coordinates; wanted {self.n_unit}")
        built: dict[str, AxisValue] = {}
        at = 0
        for axis in self.axes:
            if self.is_active(axis.name, built):
                built[axis.name] = axis.decode(u[at : at + axis.n_unit])
            at += axis.n_unit
        return Configuration(built)

    def encode(self, config: Configuration) -> np.ndarray:
        """Return ``(n_unit,)`` float64 that decodes to `config`; inactive axes at their default."""
        u: list[float] = []
        for axis in self.axes:
            u.extend(axis.encode(config.get(axis.name, axis.default_value())))
        return np.asarray(u, dtype=np.float64)

    def sample(self, rng: np.random.Generator) -> Configuration:
        """Return a uniform draw (log-uniform on log axes, Dirichlet(1) on mixtures)."""
        return self.decode(rng.random(self.n_unit).tolist())

    def subspace(self, blocks: Iterable[Block], base: Configuration) -> Space:
        """Return the space of the axes in `blocks`, the others fixed at their value in `base`.

        Raises:
            SpaceError: No axis is in any of `blocks`.
        """
        wanted = set(blocks)
        inside = tuple(a for a in self.axes if a.block in wanted)
        if not inside:
            raise SpaceError(
                f"got the blocks {sorted(wanted)}; wanted one that has axes: "
                + ", ".join(self.blocks)
            )
        names = {a.name for a in inside}
        fixed = {n: v for n, v in base.items() if n not in names}
        conditions = tuple(c for c in self.conditions if c.child in names)
        for condition in conditions:
            if condition.parent not in names and condition.parent not in fixed:
                raise SpaceError(
                    f"axis {condition.child} needs {condition.parent}, absent in {base}"
                )
        return Space(inside, conditions, self.fixed.with_(fixed))

    def complete(self, config: Configuration) -> Configuration:
        """Return `config` together with the fixed values."""
        return self.fixed.with_(config)
