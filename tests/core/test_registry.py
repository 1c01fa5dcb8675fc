from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest

from jobs_bench.errors import OptionError, PluginError, UnknownNameError
from jobs_bench.registry import catalogue
from jobs_bench.registry.catalogue import STRATEGIES, find, listing
from jobs_bench.registry.loading import distribution_of, load, load_strategy, load_task
from jobs_bench.registry.spec import Spec, typed_options
from jobs_bench.task.contract import TaskSetup


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("bo", "bo", {}),
        ("  bo ", "bo", {}),
        ("bo?n_init=4", "bo", {"n_init": "4"}),
        ("bo?a=1&b=x=y", "bo", {"a": "1", "b": "x=y"}),
        ("bo?a=", "bo", {"a": ""}),
        ("independent(bo)", "independent", {"base": "bo"}),
        (
            "independent(bo?n_init=4)?share=0.5",
            "independent",
            {"base": "bo?n_init=4", "share": "0.5"},
        ),
        (
            "alternating(data_only(bo?n_init=4))",
            "alternating",
            {"base": "data_only(bo?n_init=4)"},
        ),
        ("my-lab.bo", "my-lab.bo", {}),
    ],
)
def test_specs_are_read(text: str, name: str, options: dict[str, str]) -> None:
    assert Spec.parse(text) == Spec(name, options)


@pytest.mark.parametrize(
    "text",
    ["", "?a=1", "(bo)", "bo(", "bo)", "bo?a", "bo?=1", "bo?a=1&a=2", "1bo", "b o",
     "../bo", "bo?a=1&", "bo\nbo", "bo(x)y"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="wanted"):
        Spec.parse(text)


class Thing:
    def __init__(
        self,
        count: int,
        rate: float = 1.0,
        name: str = "x",
        kind: Literal["a", "b"] = "a",
        on: bool = False,
        most: int | None = None,
    ) -> None:
        self.count = count


@dataclass
class Wrapper:
    base: Any
    share: float = 0.5


def _nested(text: str) -> object:
    return ("made", text)


def _typed(factory: Any, **options: str) -> dict[str, object]:
    return typed_options("thing", factory, options, _nested)


def test_values_get_the_types_of_the_annotations() -> None:
    options = {"count": "3", "rate": "1e-3", "name": "7", "kind": "b", "on": "yes", "most": "5"}
    assert _typed(Thing, **options) == {
        "count": 3,
        "rate": 1e-3,
        "name": "7",
        "kind": "b",
        "on": True,
        "most": 5,
    }
    assert _typed(Thing, count="1", most="none") == {"count": 1, "most": None}
    assert _typed(Wrapper, base="bo?n_init=4") == {"base": ("made", "bo?n_init=4")}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("count", "3.5", "got thing?count=3.5; wanted a whole number"),
        ("count", "", "got thing?count=; wanted a whole number"),
        ("rate", "fast", "got thing?rate=fast; wanted a number"),
        ("kind", "c", "got thing?kind=c; wanted one of a, b"),
        ("on", "maybe", "got thing?on=maybe; wanted true or false"),
        ("most", "many", "got thing?most=many; wanted a whole number"),
        ("cuont", "3", "no option of thing named 'cuont'; did you mean 'count'?"),
        ("zzzzz", "3", "There are: count, kind, most, name, on, rate"),
    ],
)
def test_wrong_options_are_told(option: str, value: str, words: str) -> None:
    with pytest.raises(OptionError) as err:
        _typed(Thing, **{"count": "1", option: value})
    assert words in str(err.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_options_are_finite(value: str) -> None:
    with pytest.raises(OptionError, match=f"got thing.rate={value}; wanted a finite number"):
        _typed(Thing, count="1", rate=value)


def test_missing_options_are_told() -> None:
    with pytest.raises(OptionError, match=r"thing lacks the option count$"):
        _typed(Thing)
    with pytest.raises(OptionError, match=r"lacks the option base, as in thing\(bo\)"):
        _typed(Wrapper)


def test_strategies_are_loaded_by_spec() -> None:
    strategy = load_strategy("hyperband?eta=4")
    assert strategy.info.name == "hyperband"
    assert load_strategy("hyperband?eta=4") is not strategy
    wrapped = load_strategy("independent(data_only(hyperband?eta=4))")
    assert wrapped.info.name.startswith("independent")
    assert distribution_of(STRATEGIES, "hyperband?eta=4").startswith("jobs-bench ")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hyperbnd", "no strategy named 'hyperbnd'; did you mean 'hyperband'?"),
        (
            "independent",
            "independent lacks a strategy for the data block; wanted independent(bo) for both",
        ),
        ("independent(hyperbnd)", "no strategy named 'hyperbnd'; did you mean 'hyperband'?"),
        ("independent(hyperband?eat=3)", "no option of hyperband named 'eat'; did you mean 'eta'?"),
        ("random(bo)", "no option of random named 'base'"),
    ],
)
def test_wrong_strategies_are_told(spec: str, words: str) -> None:
    with pytest.raises((OptionError, UnknownNameError)) as err:
        load_strategy(spec)
    assert words in str(err.value)


def test_wrong_tasks_are_told() -> None:
    with pytest.raises(UnknownNameError, match="no task named 'pocket_word'; did you mean"):
        load_task("pocket_word", TaskSetup())
    with pytest.raises(OptionError, match="no option of pocket_miss named 'n_visibel'"):
        load_task("pocket_miss?n_visibel=3", TaskSetup())


def _points(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint("bo", value, STRATEGIES) for value in values]
    monkeypatch.setattr(catalogue, "entry_points", lambda **_: points)


def test_two_claims_on_a_name_are_a_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, "one:A", "two:B")
    with pytest.raises(PluginError, match=r"claim the strategy 'bo': one:A .*two:B"):
        find(STRATEGIES, "bo")
    rows = listing(STRATEGIES)
    assert [r.status for r in rows] == ["broken", "broken"]
    _points(monkeypatch, "one:A", "one:A")  # the same one, found twice on the path
    assert find(STRATEGIES, "bo").value == "one:A"


@pytest.mark.parametrize(
    ("value", "words"),
    [("absent_module:A", "No module named"), ("json:Absent", "has no attribute 'Absent'")],
)
def test_what_cannot_be_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    _points(monkeypatch, value)
    with pytest.raises(PluginError, match=f"bo .{value}. cannot be imported: .*{words}"):
        load(STRATEGIES, "bo")
    (row,) = listing(STRATEGIES)
    assert row.status == "broken"
    assert row.problem


def test_a_thing_that_is_no_strategy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, "decimal:Decimal")
    with pytest.raises(PluginError, match="makes a Decimal, which lacks part of the strategy"):
        load_strategy("bo")


def test_verdicts_on_strangers_are_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _points(monkeypatch, "json:JSONEncoder")
    cache = tmp_path / "deep" / "plugins.json"
    assert listing(STRATEGIES, cache)[0].status == "ok"
    assert cache.is_file()
    monkeypatch.setattr(catalogue, "_probe", lambda *_: "asked again")
    assert listing(STRATEGIES, cache)[0].status == "ok"
    cache.write_text("{", encoding="utf-8")
    assert listing(STRATEGIES, cache)[0].problem == "asked again"
