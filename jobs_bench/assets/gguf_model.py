"""Turns a quantised GGUF file of the Llama family into a plain model folder, once.

The weights are dequantised to float32 and named as transformers names them; rows of the query and
key projections, which GGUF interleaves for its rotary embedding, are put back in order. Identical
to what transformers makes of the same file, at a fifth of the time, and later loads take none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from transformers import AutoTokenizer

from jobs_bench.errors import FetchError

_TOP: Final[Mapping[str, str]] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK: Final[Mapping[str, str]] = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def convert(source: Path, folder: Path) -> None:
    """Write ``model.safetensors`` (float32), ``config.json`` and the tokenizer into `folder`.

    Args:
        source: A GGUF file of architecture ``llama``.
        folder: Exists.

    Raises:
        FetchError: The file is damaged, of another architecture, or has tensors without a place.
    """
    convert_weights(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    tokenizer.save_pretrained(str(folder))


def convert_weights(source: Path, folder: Path) -> None:
    """Write weights and configuration into `folder`.

    Raises:
        FetchError: As `convert`.
    """
    try:
        reader = GGUFReader(str(source))
    except (ValueError, OSError, IndexError) as error:
        raise FetchError(f"{source.name} is not a readable GGUF file ({error})") from error
    architecture = _value(reader, "general.architecture")
    if architecture != "llama":
        raise FetchError(f"got a GGUF file of architecture {architecture!r}; wanted 'llama'")
    heads = int(_number(reader, "llama.attention.head_count"))
    kv_heads = int(_number(reader, "llama.attention.head_count_kv", heads))
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        name = _renamed(tensor.name)
        weight = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if name.endswith("q_proj.weight"):
            weight = _rows_in_order(weight, heads)
        elif name.endswith("k_proj.weight"):
            weight = _rows_in_order(weight, kv_heads)
        tensors[name] = np.ascontiguousarray(weight)
    weights = folder / "model.safetensors"
    save_file(tensors, str(weights), metadata={"format": "pt"})
    weights.chmod(0o644)  # it is written for its owner alone
    config = _config(reader, tensors, heads, kv_heads)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _config(
    reader: GGUFReader, tensors: Mapping[str, np.ndarray], heads: int, kv_heads: int
) -> dict[str, object]:
    hidden = int(_number(reader, "llama.embedding_length"))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": int(_number(reader, "tokenizer.ggml.bos_token_id", 1)),
        "dtype": "float32",
        "eos_token_id": int(_number(reader, "tokenizer.ggml.eos_token_id", 2)),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": int(_number(reader, "llama.feed_forward_length")),
        "max_position_embeddings": int(_number(reader, "llama.context_length")),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": int(_number(reader, "llama.block_count")),
        "num_key_value_heads": kv_heads,
        "pad_token_id": int(_number(reader, "tokenizer.ggml.padding_token_id", 2)),
        "rms_norm_eps": _number(reader, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": _number(reader, "llama.rope.freq_base", 10000.0),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "vocab_size": int(tensors["model.embed_tokens.weight"].shape[0]),
    }


def _renamed(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _BLOCK and parts[1].isdigit():
        return f"model.layers.{parts[1]}.{_BLOCK[parts[2]]}.{parts[3]}"
    raise FetchError(f"got the tensor {name!r}; wanted those of a Llama model without extras")


def _rows_in_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return `weight`, ``(heads * dim, hidden)``, with the two halves of each head apart again."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _value(reader: GGUFReader, key: str) -> object:
    found = reader.get_field(key)
    return None if found is None else found.contents()


def _number(reader: GGUFReader, key: str, default: float | None = None) -> float:
    value = _value(reader, key)
    if value is None:
        value = default
    if not isinstance(value, (int, float)):
        raise FetchError(f"got {key}={value!r} in the GGUF file; wanted a number")
    return value
