"""A causal language model with its tokenizer, and logits only where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from jobs_bench.errors import InputError, MissingError
from jobs_bench.train.growing_rows import can_grow, kept
from jobs_bench.train.trunk_attention import Past


@dataclass(frozen=True, slots=True)
class Branching:
    """How the positions of a batch see one another, where that is not simply causal.

    Attributes:
        seen: ``(B, T, P + T)`` bool: position t attends to the kept ones and to those before it.
        positions: ``(B, T)`` int64: place of each position in its own row, the kept ones counted.
        past: Kept beginning that all rows share, ``P`` positions; ``None``: ``P = 0``.
    """

    seen: Tensor
    positions: Tensor
    past: Past | None = None


class LanguageModel:
    """A `transformers` causal LM in float32, its parameters frozen.

    Logits at chosen positions are computed by applying the output embedding to their hidden states.
    Where a model does more than that after its last layer (soft-capping, scaling), the constructor
    notices that the numbers differ, and all logits are computed and then selected.

    Attributes:
        hf: The model; adapters are injected into it in place.
        tokenizer: Its tokenizer.
        pad_id: Padding token; the end token where the tokenizer has none (padding is never attended
            to by a real token and never labelled, so the choice does not matter).
        end_id: End token.
        context: Longest sequence in tokens.
        device: Where it runs.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        if not (folder / "config.json").is_file():
            raise MissingError(f"no model in {folder} (no config.json).", "jobs-bench list models")
        disable_progress_bar()  # a load takes less than a second and the command line has its own
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        loader: Any = AutoModelForCausalLM
        self.hf = loader.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        self.hf.to(device).eval().requires_grad_(False)
        self.hf.config.use_cache = False
        self.device = device
        if self.tokenizer.eos_token_id is None:
            raise InputError(f"the tokenizer in {folder} has no end token; wanted one")
        self.end_id = int(self.tokenizer.eos_token_id)
        pad = self.tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)
        self.context = int(getattr(self.hf.config, "max_position_embeddings", 1 << 20))
        self._head_alone = self._head_is_all()

    def encode(self, text: str) -> list[int]:
        """Return token ids of `text`, without special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return token ids of both parts, split as lm-evaluation-harness splits them.

        Trailing spaces of the context belong to the continuation; the continuation's tokens are
        those of the whole text after as many as the context alone has. An empty context is the
        beginning token (the end token where there is none).
        """
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if not context:
            begin = self.tokenizer.bos_token_id
            return [self.end_id if begin is None else int(begin)], self.encode(continuation)
        head = self.encode(context)
        whole = self.encode(context + continuation)
        return head, whole[len(head) :]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def hidden(self, input_ids: Tensor, branching: Branching | None = None) -> Tensor:
        """Return last hidden states ``(B, T, d)`` of right-padded ``(B, T)`` ids.

        Attention is causal, so padding on the right needs no mask: no real token sees it.
        """
        out = self.hf.get_decoder()(input_ids=input_ids, **_forward_options(branching))
        states: Tensor = out.last_hidden_state
        return states

    def logits_at(
        self, input_ids: Tensor, where: Tensor, branching: Branching | None = None
    ) -> Tensor:
        """Return ``(n, V)`` logits at the ``n`` positions where the ``(B, T)`` mask is true."""
        if self._head_alone:
            states = self.hidden(input_ids, branching)[where]
            logits: Tensor = self.hf.get_output_embeddings()(states)
            return logits
        every: Tensor = self.hf(input_ids=input_ids, **_forward_options(branching)).logits
        return every[where]

    def logits_in_pieces(
        self, input_ids: Tensor, where: Tensor, branching: Branching | None, size: int
    ) -> Iterator[Tensor]:
        """Yield what `logits_at` returns, `size` positions at a time: long texts fit in memory."""
        if not self._head_alone:
            yield from self.logits_at(input_ids, where, branching).split(size)
            return
        head: Any = self.hf.get_output_embeddings()
        for states in self.hidden(input_ids, branching)[where].split(size):
            yield head(states)

    def keep(self, input_ids: Tensor) -> Past:
        """Return keys and values of a beginning, ``(1, P)`` ids."""
        return kept(self.hf, input_ids)

    @cached_property
    def grows(self) -> bool:
        """Return whether its rows can be read on, token by token, on kept beginnings."""
        return self.branches and can_grow(self.hf, self.device)

    @cached_property
    def branches(self) -> bool:
        """Return whether rows can branch and beginnings be kept: tried once, on a small tree.

        Layers that see a window only would need other masks; models with such layers, or whose
        attention takes no mask of one's own, do without.
        """
        config = self.hf.config.get_text_config()
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        if set(kinds) != {"full_attention"} or getattr(config, "sliding_window", None):
            return False
        try:
            return self._branches_right()
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return False

    @torch.no_grad()
    def _branches_right(self) -> bool:
        """Compare rows 0 1 2 3 4 and 0 1 2 5 on the kept 0 1 with the same rows apart."""
        ids = torch.arange(6, device=self.device)[None] % self.hf.config.vocab_size
        rows = [ids[:, [0, 1, 2, 3, 4]], ids[:, [0, 1, 2, 5]]]
        apart = torch.cat(
            [self.logits_at(r, torch.ones_like(r, dtype=torch.bool))[2:] for r in rows]
        )
        seen = torch.ones((1, 4, 6), dtype=torch.bool, device=self.device).tril(2)
        seen[0, 3, 3:5] = False
        positions = torch.tensor([[2, 3, 4, 3]], device=self.device)
        tree = Branching(seen, positions, self.keep(ids[:, :2]))
        where = torch.ones((1, 4), dtype=torch.bool, device=self.device)
        joint = self.logits_at(ids[:, 2:], where, tree)[[0, 1, 2, 0, 3]]
        return bool(torch.allclose(joint, apart, rtol=1e-3, atol=1e-3 * float(apart.abs().max())))

    @torch.no_grad()
    def _head_is_all(self) -> bool:
        if self.hf.get_decoder() is self.hf or self.hf.get_output_embeddings() is None:
            return False
        probe = torch.arange(4, device=self.device)[None] % self.hf.config.vocab_size
        every: Tensor = self.hf(input_ids=probe, use_cache=False).logits[0]
        alone = self.hf.get_output_embeddings()(self.hidden(probe)[0])
        return every.shape == alone.shape and torch.equal(every, alone)

    def layers(self) -> tuple[str, nn.ModuleList]:
        """Return the list of transformer layers and its path in the model.

        Raises:
            InputError: The model has no such list.
        """
        want = self.hf.config.get_text_config().num_hidden_layers
        for name, module in self.hf.named_modules():
            if isinstance(module, nn.ModuleList) and len(module) == want:
                return name, module
        raise InputError(
            f"{type(self.hf).__name__} has no list of {want} layers; adapters cannot be placed"
        )


def _forward_options(branching: Branching | None) -> dict[str, Any]:
    if branching is None:
        return {"use_cache": False}
    n = len(branching.seen)
    mask = torch.zeros(branching.seen.shape, device=branching.seen.device)
    mask.masked_fill_(~branching.seen, torch.finfo(mask.dtype).min)
    options: dict[str, Any] = {
        "attention_mask": mask[:, None],
        "position_ids": branching.positions,
        "use_cache": False,
    }
    if branching.past is not None:
        wide = [(k.expand(n, -1, -1, -1), v.expand(n, -1, -1, -1)) for k, v in branching.past]
        options |= {"past_key_values": DynamicCache(wide), "use_cache": True}
    return options
