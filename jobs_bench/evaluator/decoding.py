"""Greedy answers to many contexts: beginnings read once, places of finished answers filled again.

Contexts that begin alike share a trunk (`jobs_bench.task.prefixes`), whose keys and values are
computed once and read by all rows on it. A row is a context without its trunk, and its answer. Each
step reads one token of every row; where a quarter of the rows have ended, they leave, and waiting
rows take their places.

Models that cannot do this (`LanguageModel.grows`), or whose own settings of generation change what
is likeliest (a repetition penalty: lm-evaluation-harness lets it apply), answer by ``generate`` of
`transformers`, in batches that wait for their longest answer. Either way the next token is the
likeliest in float32, the lowest of equals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from jobs_bench.evaluator.likelihood import KEPT_TOKENS, chunks
from jobs_bench.evaluator.stops import StopWatch, cut
from jobs_bench.task.finetune import Generation
from jobs_bench.task.prefixes import Items, plan
from jobs_bench.train.growing_rows import GrowingRows, Joining
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trunk_attention import Past

CHANGES_CHOICES: Final = (
    "repetition_penalty",
    "encoder_repetition_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "min_length",
    "min_new_tokens",
    "exponential_decay_length_penalty",
    "guidance_scale",
)
"""Settings of `transformers.GenerationConfig` that greedy decoding heeds."""

LEAVE: Final = 0.25
"""Share of a batch that must have ended before rows move: moving copies keys and values."""


class _Trunk:
    """A beginning; computed when the first row on it is read."""

    def __init__(self, model: LanguageModel, ids: Items) -> None:
        self._model = model
        self.ids = ids
        self._past: Past | None = None

    @property
    def past(self) -> Past | None:
        if self.ids and self._past is None:
            self._past = self._model.keep(torch.tensor([self.ids], device=self._model.device))
        return self._past


class _Row:
    """A context and its answer.

    Attributes:
        number: Which context.
        trunk: What it begins with.
        ids: What follows the trunk, at least one token.
        limit: Longest answer in tokens.
        answer: Tokens so far, without the end token.
        read: Tokens that went through the model for it alone.
        done: The answer is complete.
    """

    def __init__(
        self, model: LanguageModel, number: int, trunk: _Trunk, ids: Items, how: Generation
    ) -> None:
        self.number = number
        self.trunk = trunk
        self.ids = ids
        # the last token of an answer is never read
        room = model.context - len(trunk.ids) - len(ids) + 1
        self.limit = min(how.max_new_tokens, room)
        self.answer: list[int] = []
        self.read = len(ids)
        self.done = False
        self._end = model.end_id
        self._watch = StopWatch(model.decode, how.stop)

    @property
    def width(self) -> int:
        """Return the most tokens that it can come to, its trunk left out."""
        return len(self.ids) + self.limit

    @property
    def last(self) -> int:
        """Return the token to read next."""
        return self.answer[-1] if self.answer else self.ids[-1]

    def take(self, token: int) -> None:
        """Add a token to the answer."""
        if token == self._end:
            self.done = True
            return
        self.answer.append(token)
        self.done = self._watch.add(token) or len(self.answer) >= self.limit
        self.read += not self.done


@torch.no_grad()
def generate(
    model: LanguageModel, contexts: Sequence[str], how: Generation, eval_tokens: int
) -> tuple[list[str], int]:
    """Return a greedy answer to each context, cut before the first stop text, and the tokens used.

    Contexts keep their end when they and the answer would not fit the model. An answer ends with
    the end token, the first token that completes a stop text, or as long as it may be. Equal
    contexts are answered once.

    Args:
        model: With whatever adapter is on it.
        contexts: Any number.
        how: Stop texts and the longest answer.
        eval_tokens: Padded tokens of a batch, answers at their longest included, trunks left out.

    Returns:
        Answers in order, and the tokens that went through the model, padding excluded: trunks
        once, and of each answer all but its last token.
    """
    room = max(model.context - how.max_new_tokens, 1)
    encoded = [tuple(model.encode_pair(c, "")[0] or model.encode(c))[-room:] for c in contexts]
    numbers = {ids: i for i, ids in enumerate(dict.fromkeys(encoded))}
    grows = model.grows and not _has_own_settings(model)
    rows, tokens = _rows(model, list(numbers), how, grows)
    (_on_trunks if grows else _apart)(model, rows, eval_tokens)
    answers = {row.number: cut(model.decode(row.answer), how.stop) for row in rows}
    return [answers[numbers[ids]] for ids in encoded], tokens + sum(row.read for row in rows)


def _has_own_settings(model: LanguageModel) -> bool:
    """Return whether the model's generation settings say more than the likeliest token."""
    own = model.hf.generation_config
    neutral: tuple[object, ...] = (None, 0, 1.0, [], {})
    return any(getattr(own, name, None) not in neutral for name in CHANGES_CHOICES)


def _rows(
    model: LanguageModel, contexts: Sequence[Items], how: Generation, grows: bool
) -> tuple[list[_Row], int]:
    """Return a row for each context, in the order of reading, and the tokens of their trunks."""
    if not grows:
        none = _Trunk(model, ())
        order = sorted(range(len(contexts)), key=lambda i: (len(contexts[i]), i))
        return [_Row(model, i, none, contexts[i], how) for i in order], 0
    groves = plan(contexts, [len(ids) - 1 for ids in contexts], range(len(contexts)))
    rows: list[tuple[int, int, _Row]] = []
    for k, grove in enumerate(groves):
        trunk = _Trunk(model, grove.trunk)
        for tree in grove.trees:
            row = _Row(model, tree.rows[0], trunk, tree.stem, how)
            # rows without a trunk come first, all together
            rows.append((k if grove.trunk else -1, row.width, row))
    ordered = sorted(rows, key=lambda x: (x[0], x[1], x[2].number))
    return [row for _, _, row in ordered], sum(len(grove.trunk) for grove in groves)


def _on_trunks(model: LanguageModel, rows: Sequence[_Row], eval_tokens: int) -> None:
    """Answer all `rows`."""
    waiting = deque(rows)
    running: list[_Row] = []
    batch = GrowingRows(model.hf, model.device)
    while waiting or not all(row.done for row in running):
        stay = [k for k, row in enumerate(running) if not row.done]
        if len(running) - len(stay) >= LEAVE * len(running):
            still = [running[k] for k in stay]
            joining: list[_Row] = []
            while waiting and _fits([*still, *joining, waiting[0]], eval_tokens):
                joining.append(waiting.popleft())
            running = [*still, *joining]
            joined = [Joining(row.trunk.past, row.ids[:-1]) for row in joining]
            batch.change(stay, joined, max(row.width for row in running))
        logits = batch.step([row.last for row in running], [not row.done for row in running])
        best = logits.float().argmax(dim=-1).tolist()
        for row, token in zip(running, best, strict=True):
            if not row.done:
                row.take(token)


def _fits(rows: Sequence[_Row], eval_tokens: int) -> bool:
    if len(rows) == 1:
        return True
    trunks = {id(row.trunk): len(row.trunk.ids) for row in rows}
    own = len(rows) * max(row.width for row in rows)
    return own <= eval_tokens and own + sum(trunks.values()) <= KEPT_TOKENS * eval_tokens


class _Ended(StoppingCriteria):
    """Hands each new token to its row, and says which rows are done."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, *_: object, **__: object) -> Tensor:
        """Return ``(B,)`` bool."""
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.done:
                row.take(token)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)


def _apart(model: LanguageModel, rows: Sequence[_Row], eval_tokens: int) -> None:
    """Answer all `rows`, none of which has a trunk, by the model's own loop."""
    for batch in chunks(rows, [row.width for row in rows], eval_tokens):
        width = max(len(row.ids) for row in batch)
        ids = torch.full((len(batch), width), model.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for k, row in enumerate(batch):
            ids[k, width - len(row.ids) :] = torch.tensor(row.ids)
            mask[k, width - len(row.ids) :] = 1
        model.hf.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max(row.limit for row in batch),
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=model.pad_id,
            eos_token_id=model.end_id,
            stopping_criteria=StoppingCriteriaList([_Ended(batch)]),
        )
