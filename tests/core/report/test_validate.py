from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.report.validate import NOTE, validate
from jobs_bench.store.codec import Event
from jobs_bench.store.folder import StudyFolder
from jobs_bench.store.journal import read

MakeStudy = Callable[..., StudyFolder]
WriteEvents = Callable[[StudyFolder, Sequence[Event]], None]
Edit = Callable[[list[Event]], Any]


def at(events: Sequence[Event], kind: str, number: int = 0) -> int:
    return [i for i, e in enumerate(events) if e.type == kind][number]


@pytest.mark.parametrize("until", ["started", "searching", "ended", "closed"])
def test_good_studies_have_no_problems(tmp_path: Path, make_study: MakeStudy, until: str) -> None:
    assert validate(make_study(tmp_path / "a", scores=(0.3, None, 0.5), until=until).root) == []


def test_a_torn_tail_is_a_note(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = make_study(tmp_path / "a", until="searching")
    folder.events.write_bytes(folder.events.read_bytes() + b'{"seq":')
    problems = validate(folder.root)
    assert len(problems) == 1
    assert problems[0].startswith(NOTE)
    assert "7 bytes" in problems[0]


def test_no_study_and_damage(tmp_path: Path, make_study: MakeStudy) -> None:
    assert "not a study folder" in validate(tmp_path)[0]
    folder = make_study(tmp_path / "a")
    folder.events.write_bytes(folder.events.read_bytes().replace(b"0.3", b"0.4", 1))
    assert "checksum" in validate(folder.root)[0]


def change(kind: str, number: int, path: Sequence[Any], value: Any) -> Edit:
    def edit(events: list[Event]) -> None:
        target = events[at(events, kind, number)].payload
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return edit


def move_oracle_up(events: list[Event]) -> None:
    events.insert(2, events.pop(at(events, "oracle")))


def drop(kind: str, number: int) -> Edit:
    return lambda events: events.pop(at(events, kind, number))


def spend_more(events: list[Event]) -> None:
    events[at(events, "finished", 3)].payload["charges"][0]["flop"] = 2.0e8
    events[at(events, "recommended", 4)].payload["spent"] = 5.1


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (change("started", 0, ["budget"], "9x"), "manifest.json says otherwise about budget"),
        (change("finished", 1, ["charges", 0, "flop"], 0.8e8), "the charges add up to 1.9"),
        (change("finished", 1, ["points", 1, "step"], 5), "points at steps [10, 5, 100]"),
        (change("finished", 1, ["points", 2, "step"], 90), "without a point at step 100"),
        (change("finished", 1, ["segment", "until"], 40), "got until 40, proposed was 100"),
        (change("finished", 1, ["segment", "trial"], 9), "nobody proposed"),
        (change("asked", 1, ["proposals", 0, "until"], 50), "got until=50; wanted one of"),
        (change("asked", 1, ["ask"], 5), "got ask 5, wanted 1"),
        (change("recommended", 2, ["trial"], 77), "trial 77, which does not exist"),
        (change("recommended", 2, ["low"], 0.9), "outside of its own interval"),
        (change("recommended", 2, ["config", "r"], "eight"), "of another kind"),
        (change("recommended", 2, ["config", "mixture"], {"x": 1.0}), "of another kind"),
        (change("recommended", 2, ["config", "mixture", "web"], 0.9), "sum to"),
        (change("oracle", 3, ["config", "r"], 99), "something else than was recommended (r)"),
        (move_oracle_up, "an oracle run before the search had ended"),
        (drop("finished", 3), "proposals without an end: trials [3]"),
        (drop("recommended", 2), "a recommendation is missing before it"),
        (drop("ended", 0), "the search had not ended"),
        (drop("oracle", 4), "got 1 oracle runs of recommended, wanted 2"),
        (spend_more, "spent 5.1 of a budget of 4x"),
    ],
)
def test_each_fault_is_found(
    tmp_path: Path, make_study: MakeStudy, write_events: WriteEvents, edit: Edit, problem: str
) -> None:
    folder = make_study(tmp_path / "a")
    events = [Event(e.type, e.payload) for e in read(folder.events).events]
    edit(events)
    write_events(folder, events)
    problems = validate(folder.root)
    assert any(problem in p for p in problems), problems


def test_an_event_without_its_fields_is_a_problem(
    tmp_path: Path, make_study: MakeStudy, write_events: WriteEvents
) -> None:
    folder = make_study(tmp_path / "a")
    events = list(read(folder.events).events)
    events[3] = Event("finished", {})
    write_events(folder, events)
    assert "does not hold what it should" in validate(folder.root)[0]
