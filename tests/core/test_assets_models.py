from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs_bench.assets import models
from jobs_bench.assets.models import GROUP, facts, offered, resolve
from jobs_bench.errors import DataError, MissingError, PluginError, UnknownNameError
from jobs_bench.task.sources import CACHE_VARIABLE

CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def broken_plugin(_: int) -> Path:
    raise AssertionError


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    weights: dict[str, np.ndarray] = {
        "model.embed_tokens.weight": np.zeros((10, 8), np.float32),
        "lm_head.weight": np.zeros((10, 8), np.float32),
        "model.norm.weight": np.zeros(8, np.float16),
    }
    save_file(weights, str(made / "model.safetensors"))
    return made


def test_facts_come_from_configuration_and_header(folder: Path) -> None:
    got = facts(folder, "tiny")
    assert (got.name, got.path) == ("tiny", folder)
    assert (got.n_layers, got.hidden, got.vocab, got.context) == (2, 8, 10, 64)
    assert got.n_params == 88  # tied: the head counts once
    assert (got.kv_width, got.intermediate) == (4, 16)
    untied = {**CONFIG, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(untied))
    assert facts(folder, "tiny").n_params == 168


def test_older_names_are_understood(folder: Path) -> None:
    old = {"n_layer": 3, "n_embd": 8, "n_head": 2, "vocab_size": 10, "n_positions": 32}
    (folder / "config.json").write_text(json.dumps({**old, "n_inner": None}))
    got = facts(folder, "gpt")
    assert (got.n_layers, got.kv_width, got.intermediate, got.context) == (3, 8, 32, 32)
    (folder / "config.json").write_text(json.dumps({"text_config": CONFIG}))
    assert facts(folder, "seeing").n_layers == 2


def test_the_digest_names_the_content_not_the_place(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    noted = {**CONFIG, "_name_or_path": str(copy), "transformers_version": "9"}
    (copy / "config.json").write_text(json.dumps(noted))
    assert facts(copy, "other").digest == facts(folder, "tiny").digest
    (copy / "config.json").write_text(json.dumps({**CONFIG, "rope_theta": 1.0}))
    assert facts(copy, "other").digest != facts(folder, "tiny").digest
    bigger = {"x": np.zeros(3, np.float32)}
    shutil.copy(folder / "config.json", copy / "config.json")
    save_file(bigger, str(copy / "model.safetensors"))
    assert facts(copy, "other").digest != facts(folder, "tiny").digest


def test_shards_are_added_up(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for i in (1, 2):
        save_file({f"w{i}": np.zeros(5, np.float32)}, str(folder / f"part-{i}.safetensors"))
    save_file({"stray": np.zeros(5, np.float32)}, str(folder / "adapter.safetensors"))
    index = {"weight_map": {"w1": "part-1.safetensors", "w2": "part-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert facts(folder, "tiny").n_params == 10


def test_damaged_folders_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content, says in (
        (whole[:-1], "as its header says"),
        (whole[:20], "no readable safetensors"),
        (b"", "no readable safetensors"),
        (b"\x05\0\0\0\0\0\0\0nojsn", "no readable safetensors"),
    ):
        weights.write_bytes(content)
        with pytest.raises(DataError, match=says):
            facts(folder, "tiny")
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match="never read"):
        facts(folder, "tiny")
    for text, says in (("{", "not JSON"), ("[]", "JSON object")):
        (folder / "config.json").write_text(text)
        with pytest.raises(DataError, match=says):
            facts(folder, "tiny")
    (folder / "config.json").unlink()
    with pytest.raises(DataError, match="model folder"):
        facts(folder, "tiny")


def test_a_configuration_without_sizes_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 0}))
    with pytest.raises(DataError, match="hidden_size or n_embd"):
        facts(folder, "tiny")


def test_names_are_resolved(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve(str(folder)).path == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("./model").path == folder
    with pytest.raises(MissingError, match="jobs-bench fetch smollm2-135m"):
        resolve("smollm2-135m")
    shutil.copytree(folder, tmp_path / "cache" / "models" / "smollm2-135m")
    assert resolve("smollm2-135m").name == "smollm2-135m"
    with pytest.raises(UnknownNameError, match="smollm2-135m"):
        resolve("smolm2-135m")


def test_hub_ids_are_looked_for_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="jobs-bench fetch nobody/nothing"):
        resolve("nobody/nothing")


def _points(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint("given", value, GROUP) for value in values]
    monkeypatch.setattr(models, "entry_points", lambda **_: points)


def test_packages_offer_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "given_models", models)
    monkeypatch.setattr(models, "given", lambda: folder, raising=False)
    monkeypatch.setattr(models, "broken", broken_plugin, raising=False)
    _points(monkeypatch, "given_models:given")
    assert resolve("given").path == folder
    for value in ("given_models:nothing", "no_such_module:x", "given_models:broken"):
        _points(monkeypatch, value)
        with pytest.raises(PluginError, match="given"):
            resolve("given")


def test_two_packages_may_not_claim_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, "a:x", "b:x")
    with pytest.raises(PluginError, match="a:x and b:x"):
        offered()
    _points(monkeypatch, "a:x", "a:x")
    assert list(offered()) == ["given"]
