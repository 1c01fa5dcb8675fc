"""Search spaces in plain data and back: what ``table.yaml`` holds under ``space``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from jobs_bench.errors import DataError, UnknownNameError
from jobs_bench.space.axes import Axis, Categorical, Float, Int, Subset
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Condition, Space

KINDS: Final[Mapping[str, type]] = {
    "simplex": Simplex,
    "float": Float,
    "int": Int,
    "categorical": Categorical,
    "subset": Subset,
}


def space_to_json(space: Space) -> dict[str, Any]:
    """Return the axes and conditions of `space`; what equals a default is left out.

    Raises:
        DataError: A space with fixed values, or an axis of a kind that tables cannot hold.
    """
    if space.fixed:
        raise DataError(f"got a space with the fixed values {list(space.fixed)}; wanted none")
    return {
        "axes": [_axis_to_json(axis) for axis in space.axes],
        "conditions": [
            {"child": c.child, "parent": c.parent, "values": list(c.values)}
            for c in space.conditions
        ],
    }


def space_from_json(data: object) -> Space:
    """Return the space that `space_to_json` gave.

    Raises:
        DataError: Data of another form.
        SpaceError: Axes that cannot be.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("axes"), Sequence):
        raise DataError(f"got the space {data!r}; wanted axes and conditions")
    axes = tuple(_axis_from_json(axis) for axis in data["axes"])
    conditions = tuple(_condition(c) for c in data.get("conditions") or ())
    return Space(axes, conditions)


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    kind = next((k for k, c in KINDS.items() if type(axis) is c), None)
    if kind is None:
        raise DataError(f"got the axis {axis!r}; a table can hold {', '.join(KINDS)}")
    plain: dict[str, Any] = {"kind": kind}
    for field in fields(KINDS[kind]):
        value = getattr(axis, field.name)
        if field.name in ("name", "block") or value != field.default:
            plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain


def _axis_from_json(data: object) -> Axis:
    if not isinstance(data, Mapping):
        raise DataError(f"got the axis {data!r}; wanted its kind, name and bounds")
    values = {str(k): tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    kind = str(values.pop("kind", ""))
    if kind not in KINDS:
        raise UnknownNameError("kind of axis", kind, KINDS)
    known = [field.name for field in fields(KINDS[kind])]
    for name in values:
        if name not in known:
            raise UnknownNameError(f"part of a {kind} axis", name, known)
    if values.get("block", "model") not in ("data", "model", "train"):
        raise UnknownNameError("block", str(values["block"]), ("data", "model", "train"))
    try:
        made: Axis = KINDS[kind](**values)
    except TypeError as err:
        raise DataError(f"got the {kind} axis {dict(data)}: {err}") from err
    return made


def _condition(data: object) -> Condition:
    if not isinstance(data, Mapping) or set(data) != {"child", "parent", "values"}:
        raise DataError(f"got the condition {data!r}; wanted child, parent and values")
    values = tuple(str(v) for v in data["values"])
    return Condition(str(data["child"]), str(data["parent"]), values)
