from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from jobs_bench.assets.gguf_model import convert_weights
from jobs_bench.assets.models import facts
from jobs_bench.errors import FetchError

HEADS, KV_HEADS, HIDDEN = 4, 2, 64
Q8 = gguf.GGMLQuantizationType.Q8_0
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture
def model() -> LlamaForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: LlamaForCausalLM = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=96,
                hidden_size=HIDDEN,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=HEADS,
                num_key_value_heads=KV_HEADS,
                max_position_embeddings=32,
                tie_word_embeddings=True,
                rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            )
        )
    made.eval()
    return made


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows as llama.cpp's converter orders them."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def name_of(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def write(
    path: Path, model: LlamaForCausalLM, extra: str = "", architecture: str = "llama"
) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_context_length(32)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(5000.0)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        weight = tensor.numpy()
        if name.endswith("q_proj.weight"):
            weight = interleaved(weight, HEADS)
        elif name.endswith("k_proj.weight"):
            weight = interleaved(weight, KV_HEADS)
        if weight.ndim == 2:
            writer.add_tensor(name_of(name), quantize(weight, Q8), raw_dtype=Q8)
        else:
            writer.add_tensor(name_of(name), weight)
    if extra:
        writer.add_tensor(extra, np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_come_back_in_transformers_order(model: LlamaForCausalLM, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", model)
    folder = tmp_path / "out"
    folder.mkdir()
    convert_weights(tmp_path / "m.gguf", folder)
    got = load_file(str(folder / "model.safetensors"))
    wanted = {n: t.numpy() for n, t in model.state_dict().items() if n != "lm_head.weight"}
    assert set(got) == set(wanted)
    for name, weight in wanted.items():
        exact = dequantize(quantize(weight, Q8), Q8) if weight.ndim == 2 else weight
        np.testing.assert_array_equal(got[name], exact)
        assert got[name].dtype == np.float32


def test_the_folder_loads_and_computes_the_same(model: LlamaForCausalLM, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", model)
    convert_weights(tmp_path / "m.gguf", tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert (loaded(ids).logits - model(ids).logits).abs().max() < 2e-2
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o044 == 0o044
    known = facts(tmp_path, "tiny")
    assert known.n_params == sum(p.numel() for p in model.parameters())
    assert (known.kv_width, known.intermediate, known.context) == (32, 96, 32)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["tie_word_embeddings"]
    assert config["rope_theta"] == 5000.0


def test_what_has_no_place_is_refused(model: LlamaForCausalLM, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", model, extra="blk.0.attn_q.bias2.weight")
    with pytest.raises(FetchError, match="without extras"):
        convert_weights(tmp_path / "m.gguf", tmp_path)
    write(tmp_path / "n.gguf", model, architecture="gemma3")
    with pytest.raises(FetchError, match="'gemma3'; wanted 'llama'"):
        convert_weights(tmp_path / "n.gguf", tmp_path)
    (tmp_path / "bad.gguf").write_bytes(b"GGML, not what it says" * 10)
    with pytest.raises(FetchError, match="not a readable GGUF file"):
        convert_weights(tmp_path / "bad.gguf", tmp_path)
