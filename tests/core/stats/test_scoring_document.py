"""The worked examples of docs/scoring.md are what the code computes."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "scoring.md"


def test_every_example_holds() -> None:
    results = doctest.testfile(str(DOCUMENT), module_relative=False, verbose=False)
    assert results.attempted > 40
    assert results.failed == 0


def test_every_definition_has_an_example() -> None:
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]
    without = [s.splitlines()[0] for s in sections if ">>>" not in s]
    assert without == ["What is left out"]
