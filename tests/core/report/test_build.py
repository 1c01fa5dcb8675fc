from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jobs_bench.errors import InputError
from jobs_bench.report.build import build_report

MakeStudy = Callable[..., Any]
HOSTILE = '<script>alert(1)</script>|$\\frac{`"x"\'&amp;'
VOID = {"meta", "wbr", "link", "br", "img", "hr", "use", "path"}


class Page(HTMLParser):
    """The elements of a page, their attributes and its text; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_json_has_what_is_promised(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", oracle=(0.5, 0.7))
    report = build_report(tmp_path)
    rows = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [r["strategy"] for r in rows] == ["random", "default recipe", "base model"]
    wanted = {"task", "strategy", "score", "ci_low", "ci_high", "seeds", "spent", "recommended"}
    assert all(wanted <= set(r) for r in rows)
    assert rows[0]["score"] == pytest.approx(0.6)
    assert rows[0]["spent"] == pytest.approx(4.0)
    assert set(rows[0]["recommended"]["mixture"]) == {"web", "books"}
    assert [f.name for f in report.files] == ["report.md", "report.html"]


def test_tables_are_written_beside_each_readable_study(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path / "a")
    make_study(tmp_path / "b", seed=1, until="searching")
    make_study(tmp_path / "c", seed=2).events.write_bytes(b"x\n")
    build_report(tmp_path, html=False)
    frame = pd.read_parquet(tmp_path / "a" / "derived" / "trials.parquet")
    assert list(frame["score"]) == [0.3, 0.5, 0.45, 0.55]
    assert (tmp_path / "b" / "derived" / "points.parquet").is_file()
    assert not (tmp_path / "c" / "derived").exists()
    assert not (tmp_path / "report.html").exists()


def test_no_study_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study at or below it \(no manifest.json\)"):
        build_report(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        build_report(tmp_path / "absent")


def test_no_finished_study_is_a_report_that_says_so(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", until="searching")
    report = build_report(tmp_path)
    assert report.rows == ()
    assert report.message.startswith("No finished study yet")
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "No finished study yet: 1 study found" in text
        assert "its search is not over" in text


def test_a_study_folder_is_a_root_too(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "only")
    report = build_report(tmp_path / "only")
    assert [s.name for s in report.studies] == ["only"]


def test_the_same_folders_give_the_same_bytes(tmp_path: Path, make_study: MakeStudy) -> None:
    for seed in range(2):
        make_study(tmp_path / "x" / f"a{seed}", seed=seed)
        make_study(tmp_path / "x" / f"b{seed}", strategy="bo", seed=seed, scores=(0.2, 0.7))
    make_study(tmp_path / "x" / "c", seed=5, until="ended")
    shutil.copytree(tmp_path / "x", tmp_path / "y" / "z")
    for root in (tmp_path / "x", tmp_path / "x", tmp_path / "y" / "z"):
        build_report(root)
        texts = [(root / name).read_bytes() for name in ("report.md", "report.html")]
        (tmp_path / "first.md").exists() or (tmp_path / "first.md").write_bytes(texts[0])
        (tmp_path / "first.html").exists() or (tmp_path / "first.html").write_bytes(texts[1])
        assert texts[0] == (tmp_path / "first.md").read_bytes()
        assert texts[1] == (tmp_path / "first.html").read_bytes()


def test_hostile_names_stay_names(tmp_path: Path, make_study: MakeStudy) -> None:
    more = {"task": f"t{HOSTILE}", "domains": (HOSTILE, "</svg><img src=x>")}
    make_study(tmp_path / "a", strategy=HOSTILE, **more)
    make_study(tmp_path / "b", scores=(None, 0.4), error=HOSTILE, **more)
    build_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert HOSTILE in page.text
    markdown = (tmp_path / "report.md").read_text()
    bare = re.sub(r"(?s)```sh\n.*?\n```", "", markdown)
    bare = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", bare)
    assert "<script" not in bare
    assert "<img" not in bare
    columns = {
        len(re.findall(r"(?<!\\)\|", line))
        for line in markdown.split("### ")[0].splitlines()
        if line.startswith("|")
    }
    assert columns == {10}


def test_the_page_needs_nothing_from_outside(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a")
    build_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "//" not in re.sub(r"&#\d+;", "", text)
    assert "@import" not in text
    for tag, attrs in Page(text).elements:
        assert "src" not in attrs
        target = attrs.get("href")
        assert target is None or target == "data:," or target.startswith("#"), (tag, target)


def test_nothing_of_the_machine_is_shown(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a")
    make_study(tmp_path / "b", seed=1).events.write_bytes(b"x\n")
    build_report(tmp_path)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "/secret/place" not in text
        assert str(tmp_path) not in text


def test_the_page_has_figures_commands_and_facts(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", strategy="bo?n=3", model="tiny", scores=(0.2, None))
    build_report(tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    figures = [attrs["aria-label"] for tag, attrs in page.elements if tag == "svg"]
    assert figures == [
        "Scores with 95 % intervals on toy with tiny",
        "Believed score over spent budget on toy with tiny",
    ]
    command = (
        "jobs-bench run --task toy --strategy 'bo?n=3' --model tiny --budget 4x --seed 0 "
        "--workers 1 --oracle-seeds 2"
    )
    assert command in page.text
    assert command in (tmp_path / "report.md").read_text()
    assert "RuntimeError: loss is not finite" in page.text
    assert "jobs-bench 0.1.0" in page.text


def test_ids_are_unique(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", task="one", signature="1")
    make_study(tmp_path / "b", task="two", signature="2")
    build_report(tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]*)\)", (tmp_path / "report.html").read_text())
    assert set(used) <= set(ids)
