from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.budget import Charge
from jobs_bench.errors import JournalError, StorageError
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.store.codec import (
    Event,
    outcome_from_json,
    outcome_to_json,
    proposal_from_json,
    proposal_to_json,
    recommendation_from_json,
    recommendation_to_json,
    segment_from_json,
    segment_to_json,
)
from jobs_bench.store.journal import JournalWriter, Reading, read
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import (
    Done,
    Fork,
    Outcome,
    Point,
    Proposal,
    Resume,
    Retire,
    Segment,
    Start,
    Value,
    Wait,
)

CONFIG = Configuration(
    {"mixture": Mixture({"a": 0.25, "b": 0.75}), "r": 8, "m": ("mlp",), "f": 0.1}
)
EVENTS = [Event("asked", {"ask": i, "text": 'é\n"x"', "idle": 1}) for i in range(5)]


def _write(path: Path, events: list[Event]) -> None:
    with JournalWriter(path, Reading((), 0, 0)) as journal:
        journal.append(events)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, EVENTS[:3])
    with JournalWriter(path, read(path)) as journal:
        journal.append(EVENTS[3:])
    assert read(path).events == tuple(EVENTS)


def test_every_torn_tail_is_cut_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, EVENTS)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(whole) - len(lines[-1]) + 1, len(whole)):
        path.write_bytes(whole[:cut])
        reading = read(path)
        assert reading.events == tuple(EVENTS[:4])
        assert reading.torn_bytes == cut - reading.good_bytes > 0
        with JournalWriter(path, reading) as journal:
            journal.append(EVENTS[4:])
        assert path.read_bytes() == whole


@given(st.data())
def test_an_edited_line_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    _write(path, EVENTS)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, whole.rindex(b"\n", 0, -1) - 1))
    new = data.draw(st.integers(32, 126).filter(lambda b: b != whole[at] and whole[at] != 10))
    whole[at] = new
    path.write_bytes(bytes(whole))
    with pytest.raises(JournalError, match=r"events\.jsonl:[1-4]: "):
        read(path)


def test_a_missing_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, EVENTS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(JournalError, match=r":2: got event number 2, wanted 1"):
        read(path)


def test_there_is_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, Reading((), 0, 0)) as journal:
        journal.append(EVENTS)
        with pytest.raises(JournalError, match="another process"):
            JournalWriter(path, Reading(tuple(EVENTS), 0, 0))


def test_a_full_disk_loses_nothing() -> None:
    journal = JournalWriter(Path("/dev/full"), Reading((), 10**9, 0), sync=False)
    with journal, pytest.raises(StorageError, match="everything before is safe"):
        journal.append(EVENTS)


numbers = st.floats(allow_nan=True, allow_infinity=True)
values = st.builds(Value, numbers, numbers, st.integers(0, 1000))
outcomes = st.builds(
    Outcome,
    st.builds(
        Segment,
        st.integers(0, 99),
        st.just(CONFIG),
        st.integers(0, 10),
        st.integers(11, 20),
        st.integers(0, 2**63 - 1),
        st.none() | st.integers(0, 9),
        st.sampled_from(["", "odm?rounds=4"]),
        st.sampled_from([(), ((0, 0.1), (3, 0.9))]),
    ),
    st.sampled_from(["ok", "diverged", "oom", "timeout", "crashed", "lost"]),
    st.lists(
        st.builds(
            Point,
            st.integers(1, 20),
            values,
            st.dictionaries(st.text(max_size=5), values, max_size=2),
            st.dictionaries(st.text(max_size=5), numbers, max_size=2),
        ),
        max_size=3,
    ).map(tuple),
    st.lists(
        st.builds(Charge, st.just("train"), st.integers(0, 10**12), st.floats(0, 1e20)), max_size=2
    ).map(tuple),
    st.text(max_size=20),
)


@given(outcomes)
def test_outcomes_survive_json(outcome: Outcome) -> None:
    text = json.dumps(outcome_to_json(outcome, seconds=True), allow_nan=False)
    again = outcome_from_json(json.loads(text))
    assert repr(again) == repr(outcome)  # repr: NaN equals itself there


@pytest.mark.parametrize(
    "proposal",
    [
        Start(CONFIG, 5, {"bracket": 2}),
        Start(CONFIG, 5, controller="odm?rounds=4"),
        Start(CONFIG, 5, merge=((0, 1 / 3), (2, 2 / 3))),
        Resume(3, 9, {}),
        Fork(1, CONFIG, 7, {"a": [1, None]}),
        Retire(4),
        Wait(),
        Done(),
    ],
)
def test_proposals_survive_json(proposal: Proposal) -> None:
    assert proposal_from_json(json.loads(json.dumps(proposal_to_json(proposal)))) == proposal


@pytest.mark.parametrize("controller", ["", "odm?rounds=4"])
def test_a_controller_is_written_where_there_is_one(controller: str) -> None:
    segment = Segment(0, CONFIG, 0, 5, 1, controller=controller)
    start = Start(CONFIG, 5, controller=controller)
    advice = Recommendation(CONFIG, 0.5, controller=controller)
    wanted = {"controller": controller} if controller else {}
    for plain in (
        segment_to_json(segment),
        proposal_to_json(start),
        recommendation_to_json(advice),
    ):
        assert {k: v for k, v in plain.items() if k == "controller"} == wanted
    assert segment_from_json(segment_to_json(segment)) == segment
    assert recommendation_from_json(recommendation_to_json(advice)) == advice


@pytest.mark.parametrize("merge", [(), ((0, 0.25), (7, 0.75))])
def test_a_merge_is_written_where_there_is_one(merge: tuple[tuple[int, float], ...]) -> None:
    segment = Segment(0, CONFIG, 5, 5, 1, merge=merge)
    for plain in (segment_to_json(segment), proposal_to_json(Start(CONFIG, 5, merge=merge))):
        assert ("merge" in plain) == bool(merge)
    assert segment_from_json(json.loads(json.dumps(segment_to_json(segment)))) == segment


def test_shares_are_written_where_there_are_any() -> None:
    segment = Segment(0, CONFIG, 0, 5, 1)
    for shares in ({}, {"a": 0.1, "b": 0.9}):
        outcome = Outcome(segment, "ok", (Point(5, Value(1.0), shares=shares),), ())
        plain = outcome_to_json(outcome, seconds=False)
        assert ("shares" in plain["points"][0]) == bool(shares)
        (point,) = outcome_from_json(json.loads(json.dumps(plain))).points
        assert point.shares == shares


def test_numbers_that_are_none_are_refused() -> None:
    assert math.isnan(outcome_from_json(_outcome("nan")).points[0].score.mean)
    with pytest.raises(JournalError, match="holds a number"):
        outcome_from_json(_outcome("NaN?"))


def _outcome(mean: str) -> dict[str, object]:
    segment = Segment(0, CONFIG, 0, 5, 1)
    plain = outcome_to_json(Outcome(segment, "ok", (Point(5, Value(1.0)),), ()), seconds=False)
    plain["points"][0]["score"][0] = mean
    return plain


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\é\n,:crc'), inner),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "crc", "seq"]), JSON), max_size=4))
def test_any_payload_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    _write(path, [Event("asked", payload) for payload in payloads])
    read_back = [event.payload for event in read(path).events]
    assert [repr(p) for p in read_back] == [repr(p) for p in payloads]  # 0 and -0.0 are not one


def test_a_line_in_another_layout_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    body = json.dumps({"type": "asked", "payload": {"ask": 1}, "seq": 0})
    path.write_text(f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n')
    assert read(path).events == (Event("asked", {"ask": 1}),)


def test_what_is_no_object_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for payload, what in (("[1]", "is a list; wanted an object"), ("{1}", "is no JSON")):
        body = f'{{"seq":0,"type":"asked","payload":{payload}}}'
        path.write_text(f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n')
        (event,) = read(path).events
        with pytest.raises(JournalError, match=what):
            _ = event.payload
