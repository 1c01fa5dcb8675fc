"""Bad input to the command line: status 2 and one line that says what to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jobs_bench.cli import main as cli
from jobs_bench.cli.studies import Interrupt
from jobs_bench.store.folder import study_folders
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE

POCKET = "pocket_word2?n_visible=4&n_hidden=4&batch_size=2"
Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no data, a folder of its own."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def _status(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["jobs-bench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that runs a command, which must fail as bad input does; gives its line."""

    def check(*arguments: str) -> str:
        status = _status(monkeypatch, arguments)
        out, err = capfd.readouterr()
        assert status == 2, (out, err)
        assert err.count("\n") == 1, err
        assert err.startswith("jobs-bench: ")
        assert "Traceback" not in out + err
        return err

    return check


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one real study that was stopped before its first segment."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interrupt, "__call__", lambda *_: True)
        patch.setenv(CACHE_VARIABLE, str(out / "cache"))
        arguments = ["run", "--task", POCKET, "--strategy", "random", "--out", str(out / "runs")]
        assert _status(patch, arguments) == cli.EXIT_UNFINISHED
    return out / "runs"


@pytest.fixture
def study(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it: the folder of the study itself, three below the one given to --out."""
    shutil.copytree(stopped, tmp_path / "runs")
    (folder,) = study_folders(tmp_path / "runs")
    return folder.root


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "pocket_wrd2"], "no task named 'pocket_wrd2'; did you mean 'pocket_word2'?"),
        (["--strategy", "rndom"], "no strategy named 'rndom'; did you mean 'random'?"),
        (["--model", "pockt"], "no model (nor a folder) named 'pockt'; did you mean 'pocket'?"),
        (["--model", "."], "config.json"),
        (["--budget", "8"], "got the budget '8'; wanted a number and a currency, as in 8x"),
        (["--budget=-3x"], "got the budget '-3x'"),
        (["--budget", "0x"], "wanted a finite number above 0"),
        (["--budget", "0.001x"], "got a budget of 0.001x; wanted at least 0."),
        (["--task", "pocket_word2?n_visibel=9"], "did you mean 'n_visible'?"),
        (["--task", "pocket_word2?n_visible=0"], "got n_visible=0; wanted at least 1"),
        (["--task", "pocket_word2?n_visible=few"], "wanted a whole number"),
        (["--strategy", "jobs_paper?n_pilot=99"], "wanted at most the 8 full runs that 8x pays"),
        (["--strategy", "hyperband?eta=1"], "eta=1"),
        (["--strategy", "bo(random)"], "no option of bo named 'base'"),
        (["--strategy", "independent"], "independent lacks a strategy for the data block"),
        (["--workers", "0"], "'--workers'"),
        (["--pack", "0"], "got --pack 0; wanted a number from 1 on, or auto"),
        (["--pack", "few"], "got --pack few; wanted a number from 1 on, or auto"),
        (["--driver", "fast"], "'fast' is not one of 'auto', 'inline', 'local'"),
        (["--bugdet", "8x"], "No such option: --bugdet"),
        (["--task", "arc_easy"], "Get it with: jobs-bench fetch smollm2-135m"),
        (["--task", "arc_easy", "--model", "pocket"], "Get it with: jobs-bench fetch arc_easy"),
        (["--task", "arc_easy", "--model", "pocket", "--data-dir", "gone"], "got gone as the data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_that_cannot_be(refused: Refused, arguments: list[str], words: str) -> None:
    given = {"--task": POCKET, "--strategy": "random", "--out": "runs"}
    rest = []
    for name, value in given.items():
        if name not in arguments:
            rest += [name, value]
    assert words in refused("run", *rest, *arguments)
    assert not list(Path.cwd().rglob("manifest.json")), "no folder of a study is left"


@pytest.mark.parametrize("command", ["report", "status", "resume", "validate"])
def test_a_folder_without_a_study(refused: Refused, command: str) -> None:
    assert "no study" in refused(command, ".")
    assert "gone" in refused(command, "gone")


def test_other_commands(refused: Refused) -> None:
    assert "did you mean 'random'?" in refused("info", "rndom")
    assert "no finished study" in refused("export", ".", "--out", "best")
    assert "No such command 'frobnicate'" in refused("frobnicate")
    assert "'stuff' is not one of" in refused("list", "stuff")
    assert "got the budget 'x'" in refused("estimate", "--task", POCKET, "--budget", "x")
    assert "did you mean 'arc_easy'?" in refused("fetch", "arc_esy")


def test_an_unfinished_study_is_reported(
    study: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("status", "report", "validate"):
        assert _status(monkeypatch, [command, str(study)]) == 0, capfd.readouterr()
    assert "random" in capfd.readouterr().out


def test_a_study_of_another_signature(refused: Refused, study: Path) -> None:
    manifest = json.loads((study / "manifest.json").read_text(encoding="utf-8"))
    manifest["signature"] = "0" * 32
    (study / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    line = refused("resume", str(study))
    assert "the study is of task signature 00000000" in line
    assert "another --out" in line


def test_another_budget_in_the_same_folder(refused: Refused, study: Path) -> None:
    command = ["run", "--task", POCKET, "--strategy", "random", "--out", str(study.parents[2])]
    line = refused(*command, "--budget", "7x")
    assert "there is a study here with another budget ('8x', not '7x')" in line


@pytest.mark.parametrize("command", ["resume", "report"])
@pytest.mark.parametrize("edit", ["changed", "dropped", "manifest gone bad"])
def test_edited_records(refused: Refused, study: Path, command: str, edit: str) -> None:
    journal = study / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    if edit == "changed":
        lines[1] = lines[1].replace(b'"seq":1', b'"seq":1 ', 1).replace(b"0.", b"1.", 1)
    elif edit == "dropped":
        del lines[1]
    else:
        (study / "manifest.json").write_text("{", encoding="utf-8")
    journal.write_bytes(b"".join(lines))
    line = refused(command, str(study.parents[2]))
    assert ("manifest.json" if edit == "manifest gone bad" else "events.jsonl:2") in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"id": "a", "question": "1?"\n', "test.jsonl:1: got "),
        (b"\n[1]\n", "test.jsonl:2: got list; wanted a JSON object"),
        (b"", "test.jsonl: got an empty file"),
        (b'{"id": "\xff"}\n', "test.jsonl:1: got bytes that are not UTF-8"),
        (b'{"id": "a"}\n', "test.jsonl:1: got the fields ['id']; wanted "),
    ],
)
def test_data_that_cannot_be_read(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, words: str
) -> None:
    folder = tmp_path / "data" / "arc_easy"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_bytes(text)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    command = ["run", "--task", "arc_easy", "--model", "pocket", "--strategy", "random"]
    line = refused(*command)
    assert words in line
    assert str(folder) in line


def test_fetching_without_a_network(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("PIP_RETRIES", "0"),
    ):
        monkeypatch.setenv(name, value)
    assert "Check the network and the index" in refused("fetch", "smollm2-135m")
    assert "Check the network" in refused("fetch", "arc_easy")
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert left == [], "nothing half-fetched is left"


def test_controllers_are_listed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _status(monkeypatch, ["list", "controllers", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert {row["name"]: row["status"] for row in listed}.items() >= {"odm": "ok"}.items()
