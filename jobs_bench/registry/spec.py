"""Specs of plug-ins: ``name``, ``name?option=value&option=value``, ``wrapper(inner)?option=value``.

The part in parentheses is a spec again and becomes the option ``base``.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from jobs_bench.errors import OptionError, UnknownNameError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*")
_SHAPE = re.compile(r"(?P<name>[^?()]+)(?:\((?P<base>.*)\))?(?:\?(?P<options>[^()]*))?")


@dataclass(frozen=True, slots=True)
class Spec:
    """A name with options, all still text."""

    name: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read a spec.

        Raises:
            OptionError: The text has another form.
        """
        match = _SHAPE.fullmatch(text.strip())
        if match is None or not _NAME.fullmatch(match["name"]):
            raise OptionError(
                f"got {text!r}; wanted a name with options, as in bo, hyperband?eta=4 or "
                "independent(bo?n_init=4)"
            )
        options: dict[str, str] = {}
        if match["base"] is not None:
            options["base"] = match["base"]
        for part in (match["options"] or "").split("&") if match["options"] else []:
            key, equals, value = part.partition("=")
            if not equals or not key or key in options:
                raise OptionError(f"got {part!r} in {text!r}; wanted option=value, each once")
            options[key] = value
        return cls(match["name"], options)


def typed_options(
    what: str,
    factory: Callable[..., object],
    options: Mapping[str, str],
    nested: Callable[[str], object],
    skip: int = 0,
) -> dict[str, object]:
    """Return `options` converted by the annotations of `factory`'s parameters.

    Args:
        what: Whose options they are, for messages.
        factory: A class or function.
        options: As text.
        nested: Makes a value for a parameter that is itself a plug-in.
        skip: Leading parameters that are no options.

    Raises:
        OptionError: An unknown option, a value of another kind, or a missing one.
    """
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = get_type_hints(target)
    parameters = dict(list(inspect.signature(factory).parameters.items())[skip:])
    typed: dict[str, object] = {}
    for name, text in options.items():
        if name not in parameters:
            try:
                raise UnknownNameError(f"option of {what}", name, parameters)
            except UnknownNameError as err:
                raise OptionError(str(err)) from None
        typed[name] = _convert(f"{what}?{name}", text, hints.get(name, str), nested)
    lacking = [
        name
        for name, p in parameters.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and name not in typed
    ]
    if lacking:
        hint = f", as in {what}(bo)" if lacking == ["base"] else ""
        raise OptionError(f"{what} lacks the option {', '.join(lacking)}{hint}")
    return typed


def _convert(where: str, text: str, hint: Any, nested: Callable[[str], object]) -> object:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(hint):
            return None
        kinds = [k for k in get_args(hint) if k is not type(None)]
        return _convert(where, text, kinds[0], nested)
    if origin is Literal:
        if text in get_args(hint):
            return text
        raise OptionError(f"got {where}={text}; wanted one of {', '.join(get_args(hint))}")
    if hint is bool:
        if text.lower() in ("true", "1", "yes", "false", "0", "no"):
            return text.lower() in ("true", "1", "yes")
        raise OptionError(f"got {where}={text}; wanted true or false")
    if hint in (int, float):
        try:
            value = hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise OptionError(f"got {where}={text}; wanted {kind}") from None
        if hint is float and not math.isfinite(value):
            raise OptionError(f"got {where}={text}; wanted a finite number")
        return cast("float", value)
    if hint is str:
        return text
    return nested(text)
