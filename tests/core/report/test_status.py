from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.errors import InputError
from jobs_bench.report.status import status

MakeStudy = Callable[..., Any]


def test_states(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", oracle=(0.5, 0.7), scores=(0.3, None))
    make_study(tmp_path / "b", until="searching", scores=(0.3, 0.4))
    make_study(tmp_path / "c", until="started")
    make_study(tmp_path / "d").events.write_bytes(b"x\n")
    make_study(tmp_path / "e").events.unlink()
    found = status(tmp_path)
    assert [s.state for s in found] == [
        "finished", "unfinished", "unfinished", "damaged", "unfinished",
    ]  # fmt: skip
    a, b, c, d, e = found
    assert (a.spent, a.share, a.trials, a.failures) == (2.0, 0.5, 2, 1)
    assert a.believed == 0.3
    assert a.score == pytest.approx(0.6)
    assert (b.believed, b.score, b.detail) == (0.4, None, "its search is not over")
    assert (c.spent, c.believed) == (0.0, None)
    assert (d.strategy, d.budget) == ("random", "4x")
    assert e.detail == "it was never started"
    assert a.to_row()["spent"] == "2 of 4x"
    assert d.to_row()["detail"].startswith("events.jsonl:1")
    json.dumps([s.to_json() for s in found], allow_nan=False)


def test_a_torn_line_is_reported(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = make_study(tmp_path / "a", until="searching")
    folder.events.write_bytes(folder.events.read_bytes() + b'{"seq":')
    assert status(tmp_path)[0].torn_bytes == 7


def test_no_study(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study"):
        status(tmp_path)
