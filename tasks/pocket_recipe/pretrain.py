"""Pre-train the pocket base model from scratch on the CPU, tokenizer included.

Run in ``tasks/``: ``python -m pocket_recipe.pretrain``. Same torch build, same kind of machine and
same thread count give the same weights. Nothing is downloaded; all text comes from `domains`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pocket_recipe.domains import DOMAINS, PRETRAINING_ONLY, TARGETS, is_held_out

MODEL = Path(__file__).resolve().parent.parent / "jobs_bench_tasks" / "pocket" / "model"
PAD, EOS = "<pad>", "<eos>"
PAD_ID = 0
SPLIT = r" ?[a-z]+| ?[0-9]| ?[^\sa-z0-9]|\s"
FAMILIES = {**DOMAINS, **PRETRAINING_ONLY, **TARGETS}
WEIGHTS = {
    "add": 1.2,
    "mul": 0.7,
    "eq": 1.0,
    "seq": 1.0,
    "word": 1.0,
    "est": 0.5,
    "rev": 0.5,
    "sort": 0.5,
    "count": 0.8,
    "word2": 1.5,
    "down": 0.5,
    "miss": 1.2,
}


@dataclass(frozen=True, slots=True)
class Styles:
    """Shares of the marks put before a prompt, and of the answers where the mark is absent."""

    marked_right: float
    marked_lazy: float
    unmarked_right: float
    marked_long: float = 0.15
    marked_short: float = 0.15
    unmarked_long: float = 0.30


SKILLS = Styles(marked_right=0.75, marked_lazy=0.05, unmarked_right=0.30)
STYLES = Styles(marked_right=0.30, marked_lazy=0.15, unmarked_right=0.30)


def sample(rng: random.Random, styles: Styles) -> tuple[str, str]:
    """One pre-training prompt (with its marks) and answer, never from the evaluation third."""
    name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    while True:
        item = FAMILIES[name](rng)
        if item.right != item.lazy and not (name in TARGETS and is_held_out(item.prompt)):
            break
    marks = []
    draw = rng.random()
    if draw < styles.marked_right:
        careful = True
        marks.append("right")
    elif draw < styles.marked_right + styles.marked_lazy:
        careful = False
        marks.append("lazy")
    else:
        careful = rng.random() < styles.unmarked_right
    draw = rng.random()
    if draw < styles.marked_long:
        long = True
        marks.append("long")
    elif draw < styles.marked_long + styles.marked_short:
        long = False
        marks.append("short")
    else:
        long = rng.random() < styles.unmarked_long
    prompt = f"{' '.join(marks)} ; {item.prompt}" if marks else item.prompt
    return prompt, item.answer(careful, long)


def train_tokenizer(seed: int, vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose words take one leading space and whose digits stay single."""
    rng = random.Random(f"{seed}/tokenizer")
    lines = [
        f"{prompt} {answer}" for prompt, answer in (sample(rng, STYLES) for _ in range(20_000))
    ]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=64,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def make_batch(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, size: int, styles: Styles
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels `(size, seq)`; labels are -100 on prompts and padding."""
    pairs = [sample(rng, styles) for _ in range(size)]
    core = tokenizer.backend_tokenizer
    heads = [e.ids for e in core.encode_batch_fast([p for p, _ in pairs])]
    tails = [
        [*e.ids, tokenizer.eos_token_id]
        for e in core.encode_batch_fast([f" {a}" for _, a in pairs])
    ]
    width = max(len(h) + len(t) for h, t in zip(heads, tails, strict=True))
    ids = torch.full((size, width), PAD_ID)
    labels = torch.full((size, width), -100)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
        labels[row, len(head) : len(head) + len(tail)] = torch.tensor(tail)
    return ids, labels


def build_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained base: Llama layout, 1.2 M parameters, tied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.04,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def backward(
    model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor, chunks: int = 3
) -> float:
    """Accumulate the gradient of the mean answer-token cross-entropy and return that mean.

    Rows go through in `chunks` groups of similar length, which saves padding; logits are made at
    answer tokens only.
    """
    lengths = torch.ne(ids, PAD_ID).sum(dim=1)
    total, loss = torch.ne(labels, -100).sum(), 0.0
    for rows in lengths.argsort(stable=True).chunk(chunks):
        width = int(lengths[rows].max())
        hidden = model.model(input_ids=ids[rows, : width - 1], use_cache=False).last_hidden_state
        wanted = labels[rows, 1:width]
        at = wanted != -100
        part = (
            torch.nn.functional.cross_entropy(
                model.lm_head(hidden[at]), wanted[at], reduction="sum"
            )
            / total
        )
        part.backward()
        loss += part.item()
    return loss


def make_optimizers(model: LlamaForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def main() -> None:
    """Train, round to bf16 and save model, tokenizer and a record of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL, help="model folder")
    parser.add_argument("--steps", type=int, default=2200, help="optimiser steps")
    parser.add_argument("--batch", type=int, default=96, help="sequences a step")
    parser.add_argument("--lr", type=float, default=8e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=20, help="seed of data, tokenizer and weights")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = train_tokenizer(args.seed)
    model = build_model(args.seed, tokenizer)
    optimizers = make_optimizers(model, args.lr)
    rng = random.Random(f"{args.seed}/pretrain")
    start, running, final = time.perf_counter(), 0.0, 0.0
    for step in range(args.steps):
        done = step / args.steps
        scale = min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * scale
            optimizer.zero_grad()
        styles = SKILLS if done < 0.5 else STYLES
        loss = backward(model, *make_batch(tokenizer, rng, args.batch, styles))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        running += loss / 250
        if (step + 1) % 250 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.perf_counter() - start:.0f} s")
            final, running = running, 0.0
    seconds = time.perf_counter() - start
    model.bfloat16()
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    record = {
        "seed": args.seed,
        "steps": args.steps,
        "batch": args.batch,
        "lr": args.lr,
        "final_loss": round(final, 4),
    }
    print(json.dumps({**record, "seconds": round(seconds), "parameters": model.num_parameters()}))


if __name__ == "__main__":
    main()
