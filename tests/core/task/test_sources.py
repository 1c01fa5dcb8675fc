from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs_bench.errors import DataError, InputError, MissingError
from jobs_bench.task.sources import (
    CACHE_VARIABLE,
    DATA_VARIABLE,
    Record,
    Sources,
    cache_root,
    checked_name,
    content_id,
    multiple_choice,
    read_jsonl,
    text,
)


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def put(folder: Path, *rows: object) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def same(row: Record) -> Record:
    return row


def test_the_named_folder_comes_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = put(tmp_path / "named" / "set" / "train.jsonl", {"a": 1})
    cached = put(cache_root() / "data" / "set" / "train.jsonl", {"a": 2})
    assert Sources.of().find("set", ["train"]) == cached
    assert Sources.of(tmp_path / "named").find("set", ["train"]) == named
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "named"))
    assert Sources.of().find("set", ["train"]) == named
    named.unlink()
    assert Sources.of().find("set", ["train"]) == cached


def test_the_first_split_that_is_there_is_read(tmp_path: Path) -> None:
    put(tmp_path / "set" / "val_1000.jsonl", {"a": 1})
    assert Sources.of(tmp_path).read("set", ["val", "val_1000"], {"a": int}, same) == [{"a": 1}]


def test_missing_data_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"train\.jsonl or all\.jsonl") as caught:
        Sources.of(tmp_path).read("arc_easy", ["train", "all"], {}, same)
    assert caught.value.command == "jobs-bench fetch arc_easy"
    assert str(tmp_path / "arc_easy") in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="data folder"):
        Sources.of(tmp_path / "no")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "no"))
    with pytest.raises(InputError, match=DATA_VARIABLE):
        Sources.of()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "/etc", "a\\b", "a\0", "x" * 101])
def test_names_never_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wanted letters"):
        Sources.of(tmp_path).find(name, ["train"])
    with pytest.raises(InputError, match="wanted letters"):
        Sources.of(tmp_path).find("set", [name])
    with pytest.raises(InputError, match="strategy name"):
        checked_name("strategy", name)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "wanted JSON"),
        ("[1]", "JSON object"),
        ("{}", "wanted 'q' too"),
        ('{"q": 1, "n": 1}', "'q' of type int; wanted str"),
        ('{"q": "", "n": 1}', "'q' empty"),
        ('{"q": "x", "n": true}', "'n' of type bool; wanted int"),
        ('{"q": "x", "n": null}', "NoneType"),
    ],
)
def test_bad_lines_are_named(line: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"q": "ok", "n": 0}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        read_jsonl(path, {"q": str, "n": int}, same)
    assert (caught.value.path, caught.value.line) == (path, 3)
    assert f"{path}:3: " in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"q": "\xff"}\n')
    with pytest.raises(DataError, match="UTF-8") as caught:
        read_jsonl(path, {"q": str}, same)
    assert caught.value.line == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="empty file"):
        read_jsonl(path, {}, same)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"q": "a"}\r\n{"q": "b"}\r\n')
    assert [text(row, "q") for row in read_jsonl(path, {"q": str}, same)] == ["a", "b"]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_jsonl(tmp_path, {}, same)


def test_what_the_reader_does_not_like_gets_a_place(tmp_path: Path) -> None:
    row = {"choices": ["a", "b"], "answer": 2}
    path = put(tmp_path / "x.jsonl", {"choices": ["a", "b"], "answer": 1}, row)
    with pytest.raises(DataError, match="got the answer 2") as caught:
        read_jsonl(path, {"choices": list, "answer": int}, multiple_choice)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "row",
    [
        {"choices": ["a"], "answer": 0},
        {"choices": ["a", 1], "answer": 0},
        {"choices": ["a", "b"], "answer": -1},
    ],
)
def test_odd_choices_are_refused(row: Record) -> None:
    with pytest.raises(DataError):
        multiple_choice(row)


def test_content_ids_tell_parts_apart() -> None:
    assert content_id("s", ["ab", "c"]) != content_id("s", ["a", "bc"])
    assert content_id("s", ["a"]) == "s-ca978112ca1bbdca"
