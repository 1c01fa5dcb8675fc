"""Events of a study in JSON and back.

A journal holds deterministic facts only: no wall-clock time, no host, no path. Numbers that are not
finite are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import orjson

from jobs_bench.budget import CATEGORIES, Charge
from jobs_bench.errors import JournalError
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import (
    Done,
    Fork,
    Merge,
    Outcome,
    Point,
    Proposal,
    Resume,
    Retire,
    Segment,
    Start,
    Status,
    Value,
    Wait,
)

EVENT_TYPES = ("started", "asked", "finished", "recommended", "ended", "oracle", "closed")


class Event:
    """One line of a journal: a type from `EVENT_TYPES` and its JSON payload.

    An event that was read holds the text of its payload and decodes it whenever it is asked for: a
    journal of a million points stays small, and whoever walks through it holds one event at a time.

    Args:
        kind: Its type, from `EVENT_TYPES`.
        payload: JSON values, or their text.
    """

    __slots__ = ("_payload", "type")

    def __init__(self, kind: str, payload: dict[str, Any] | bytes) -> None:
        self.type = kind
        self._payload = payload

    @property
    def payload(self) -> dict[str, Any]:
        """Return the JSON values; of an event that was read, a new copy each time.

        Raises:
            JournalError: The text is no JSON object.
        """
        held = self._payload
        if not isinstance(held, bytes):
            return held
        try:
            found = orjson.loads(held)
        except orjson.JSONDecodeError as err:
            raise JournalError(f"an event of type {self.type!r} is no JSON: {err}") from err
        if not isinstance(found, dict):
            got = type(found).__name__
            raise JournalError(f"an event of type {self.type!r} is a {got}; wanted an object")
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return self.type == other.type and self.payload == other.payload

    __hash__ = None  # type: ignore[assignment]  # payloads can be changed

    def __repr__(self) -> str:
        return f"Event({self.type!r}, {self.payload!r})"


def number(value: float) -> float | str:
    """Return `value`, or its name when it is not finite."""
    return value if math.isfinite(value) else str(value)


def read_number(value: object) -> float:
    """Return the number that `number` gave."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if value in ("nan", "inf", "-inf"):
        return float(str(value))
    raise JournalError(f"got {value!r} where the journal holds a number")


def _optional(value: float | None) -> float | str | None:
    return None if value is None else number(value)


def _read_optional(value: object) -> float | None:
    return None if value is None else read_number(value)


def charge_to_json(charge: Charge, seconds: bool) -> dict[str, Any]:
    """Return a charge; its seconds only where they are the study's currency."""
    plain: dict[str, Any] = {
        "category": charge.category,
        "tok": charge.tok,
        "flop": number(charge.flop),
    }
    return {**plain, "s": charge.s} if seconds else plain


def charge_from_json(data: Mapping[str, Any]) -> Charge:
    """Return the charge that `charge_to_json` gave."""
    category = next((c for c in CATEGORIES if c == data["category"]), None)
    if category is None:
        raise JournalError(f"got the charge category {data['category']!r}; known: {CATEGORIES}")
    return Charge(category, int(data["tok"]), read_number(data["flop"]), float(data.get("s", 0.0)))


def _controlled(plain: dict[str, Any], controller: str) -> dict[str, Any]:
    """Add a controller, where there is one: journals without any stay as they were."""
    return {**plain, "controller": controller} if controller else plain


def _merging(plain: dict[str, Any], merge: Merge) -> dict[str, Any]:
    """Add parents and coefficients, where there are any: other journals stay as they were."""
    return {**plain, "merge": [[i, c] for i, c in merge]} if merge else plain


def _read_merge(data: Mapping[str, Any]) -> Merge:
    return tuple((int(i), read_number(c)) for i, c in data.get("merge", ()))


def value_to_json(value: Value) -> list[Any]:
    """Return ``[mean, se, n]``."""
    return [number(value.mean), number(value.se), value.n]


def value_from_json(data: Sequence[Any]) -> Value:
    """Return the value that `value_to_json` gave."""
    return Value(read_number(data[0]), read_number(data[1]), int(data[2]))


def point_to_json(point: Point) -> dict[str, Any]:
    """Return a curve point."""
    plain: dict[str, Any] = {
        "step": point.step,
        "score": value_to_json(point.score),
        "metrics": {name: value_to_json(v) for name, v in point.metrics.items()},
        "domain_losses": {name: number(v) for name, v in point.domain_losses.items()},
    }
    if point.items:
        plain["items"] = {n: [number(v) for v in values] for n, values in point.items.items()}
    if point.shares:
        plain["shares"] = {name: number(v) for name, v in point.shares.items()}
    return plain


def point_from_json(data: Mapping[str, Any]) -> Point:
    """Return the point that `point_to_json` gave."""
    return Point(
        step=int(data["step"]),
        score=value_from_json(data["score"]),
        metrics={name: value_from_json(v) for name, v in data["metrics"].items()},
        domain_losses={name: read_number(v) for name, v in data["domain_losses"].items()},
        items={n: tuple(map(read_number, values)) for n, values in data.get("items", {}).items()},
        shares={name: read_number(v) for name, v in data.get("shares", {}).items()},
    )


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """Return a segment."""
    plain = {
        "trial": segment.trial_id,
        "config": segment.config.to_json(),
        "start": segment.start,
        "until": segment.until,
        "seed": segment.seed,
        "parent": segment.parent,
    }
    return _merging(_controlled(plain, segment.controller), segment.merge)


def segment_from_json(data: Mapping[str, Any]) -> Segment:
    """Return the segment that `segment_to_json` gave."""
    return Segment(
        trial_id=int(data["trial"]),
        config=Configuration.from_json(data["config"]),
        start=int(data["start"]),
        until=int(data["until"]),
        seed=int(data["seed"]),
        parent=None if data["parent"] is None else int(data["parent"]),
        controller=str(data.get("controller", "")),
        merge=_read_merge(data),
    )


def outcome_to_json(outcome: Outcome, seconds: bool) -> dict[str, Any]:
    """Return an outcome; see `charge_to_json` for `seconds`."""
    return {
        "segment": segment_to_json(outcome.segment),
        "status": outcome.status,
        "points": [point_to_json(p) for p in outcome.points],
        "charges": [charge_to_json(c, seconds) for c in outcome.charges],
        "error": outcome.error,
    }


def outcome_from_json(data: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `outcome_to_json` gave."""
    status = next((s for s in get_args(Status) if s == data["status"]), None)
    if status is None:
        raise JournalError(f"got the status {data['status']!r}; known: {get_args(Status)}")
    return Outcome(
        segment=segment_from_json(data["segment"]),
        status=status,
        points=tuple(point_from_json(p) for p in data["points"]),
        charges=tuple(charge_from_json(c) for c in data["charges"]),
        error=str(data["error"]),
    )


def proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal with its kind."""
    match proposal:
        case Start(config, until, note, controller, merge):
            plain = {"config": config.to_json(), "until": until, "note": dict(note)}
            return _merging(_controlled({"kind": "start", **plain}, controller), merge)
        case Resume(trial_id, until, note):
            return {"kind": "resume", "trial": trial_id, "until": until, "note": dict(note)}
        case Fork(trial_id, config, until, note):
            return {
                "kind": "fork",
                "trial": trial_id,
                "config": config.to_json(),
                "until": until,
                "note": dict(note),
            }
        case Retire(trial_id):
            return {"kind": "retire", "trial": trial_id}
        case Wait():
            return {"kind": "wait"}
        case Done():
            return {"kind": "done"}


def proposal_from_json(data: Mapping[str, Any]) -> Proposal:
    """Return the proposal that `proposal_to_json` gave."""
    kind = data["kind"]
    if kind == "start":
        config = Configuration.from_json(data["config"])
        controller = str(data.get("controller", ""))
        return Start(config, int(data["until"]), data["note"], controller, _read_merge(data))
    if kind == "resume":
        return Resume(int(data["trial"]), int(data["until"]), data["note"])
    if kind == "fork":
        config = Configuration.from_json(data["config"])
        return Fork(int(data["trial"]), config, int(data["until"]), data["note"])
    if kind == "retire":
        return Retire(int(data["trial"]))
    if kind == "wait":
        return Wait()
    if kind == "done":
        return Done()
    raise JournalError(f"got a proposal of kind {kind!r}")


def recommendation_to_json(recommendation: Recommendation) -> dict[str, Any]:
    """Return a recommendation."""
    plain = {
        "config": recommendation.config.to_json(),
        "score": _optional(recommendation.score),
        "low": _optional(recommendation.low),
        "high": _optional(recommendation.high),
        "reason": recommendation.reason,
        "trial": recommendation.trial_id,
    }
    return _controlled(plain, recommendation.controller)


def recommendation_from_json(data: Mapping[str, Any]) -> Recommendation:
    """Return the recommendation that `recommendation_to_json` gave."""
    return Recommendation(
        config=Configuration.from_json(data["config"]),
        score=_read_optional(data["score"]),
        low=_read_optional(data["low"]),
        high=_read_optional(data["high"]),
        reason=str(data["reason"]),
        trial_id=None if data["trial"] is None else int(data["trial"]),
        controller=str(data.get("controller", "")),
    )
