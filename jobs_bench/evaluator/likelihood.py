"""Log-likelihoods of continuations: logits where they are needed, shared beginnings once.

Rows are the requests without their last token, each different row once. Rows of one question become
branches of a tree and questions that begin alike share a trunk (`jobs_bench.task.prefixes`), where
the model can compute that; otherwise, and where nothing is shared, rows stand side by side. The
numbers are the same up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from jobs_bench.task.prefixes import Grove, Items, Tree, plan
from jobs_bench.train.language_model import Branching, LanguageModel
from jobs_bench.train.trunk_attention import Past

_T = TypeVar("_T")

KEPT_TOKENS = 8
"""A batch may attend to this many times `eval_tokens` kept tokens: their keys are copied a row."""

LOGIT_ROWS = 1024
"""Positions whose logits are computed at once: 200 MB at 50,000 tokens of vocabulary."""


@dataclass(frozen=True, slots=True)
class Request:
    """A continuation to score after a context.

    Attributes:
        ids: Context and continuation.
        n: Tokens of the continuation, at least 1.
    """

    ids: tuple[int, ...]
    n: int


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a continuation got.

    Attributes:
        total: Sum of its log-probabilities, in nats.
        greedy: Greedy decoding would have produced exactly it.
    """

    total: float
    greedy: bool


@torch.no_grad()
def score_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    eval_tokens: int,
    families: Sequence[int] | None = None,
) -> tuple[list[Likelihood], int]:
    """Return the likelihood of each request, and the tokens that went through the model.

    Args:
        model: With whatever adapter is on it.
        requests: Any number.
        eval_tokens: Padded tokens of a batch.
        families: For each request the question it belongs to; ``None``: nothing is shared.
    """
    numbers: dict[Items, int] = {}
    askers: list[list[int]] = []
    for i, request in enumerate(requests):
        row = numbers.setdefault(request.ids[:-1], len(askers))
        if row == len(askers):
            askers.append([])
        askers[row].append(i)
    rows = list(numbers)
    firsts = [
        len(row) - max(requests[i].n for i in who) for row, who in zip(rows, askers, strict=True)
    ]
    if families is None or not model.branches:
        groves = [Grove((), (Tree(row, ((),), (i,), 0),)) for i, row in enumerate(rows)]
    else:
        groves = plan(rows, firsts, [families[who[0]] for who in askers])
    found: dict[int, Likelihood] = {}
    for trunk, past, trees in _batches(model, groves, eval_tokens):
        ids, where, at, branching = _arrange(model, trunk, past, trees, rows, firsts)
        asking = [(i, places[-requests[i].n :]) for row, places in at.items() for i in askers[row]]
        labels = torch.tensor([t for i, _ in asking for t in requests[i].ids[-requests[i].n :]])
        places = torch.tensor([p for _, mine in asking for p in mine])
        found_at = torch.empty(len(labels), dtype=torch.float64)
        best_at = torch.empty(len(labels), dtype=torch.bool)
        start = 0
        for piece in model.logits_in_pieces(ids, where, branching, LOGIT_ROWS):
            logprobs = torch.log_softmax(piece.float(), dim=-1)
            mine = ((places >= start) & (places < start + len(piece))).nonzero()[:, 0]
            at_piece = (places[mine] - start).to(piece.device)
            wanted = labels[mine].to(piece.device)
            found_at[mine] = logprobs[at_piece, wanted].double().cpu()
            best_at[mine] = (logprobs.argmax(dim=-1)[at_piece] == wanted).cpu()
            start += len(piece)
        sizes = [len(mine) for _, mine in asking]
        sides = zip(asking, found_at.split(sizes), best_at.split(sizes), strict=True)
        for (i, _), logprob, best in sides:
            found[i] = Likelihood(float(logprob.sum()), bool(best.all()))
    return [found[i] for i in range(len(requests))], sum(g.size for g in groves)


def _batches(
    model: LanguageModel, groves: Sequence[Grove], limit: int
) -> Iterator[tuple[int, Past | None, list[Tree]]]:
    """Yield (length of the trunk, its keys and values, trees) of one pass after the other."""
    free = [t for g in groves if not g.trunk for t in g.trees]
    plain = [t for t in free if len(t.branches) == 1]
    forked = [t for t in free if len(t.branches) > 1]
    for trees in (plain, forked):
        for batch in by_size(trees, limit):
            yield 0, None, batch
    for grove in groves:
        if grove.trunk:
            past = model.keep(torch.tensor([grove.trunk], device=model.device))
            kept = max(limit * KEPT_TOKENS // len(grove.trunk), 1)
            for batch in by_size(list(grove.trees), limit):
                for i in range(0, len(batch), kept):
                    yield len(grove.trunk), past, batch[i : i + kept]


def by_size(trees: list[Tree], limit: int) -> list[list[Tree]]:
    """Return `trees` by ascending size in groups of at most `limit` padded tokens."""
    ordered = sorted(trees, key=lambda t: (t.size, t.stem, t.branches))
    return chunks(ordered, [t.size for t in ordered], limit)


def chunks(items: Sequence[_T], widths: Sequence[int], limit: int) -> list[list[_T]]:
    """Return `items`, ordered by ascending width, in groups of at most `limit` padded tokens."""
    groups: list[list[_T]] = []
    for item, width in zip(items, widths, strict=True):
        if groups and (len(groups[-1]) + 1) * width <= limit:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def _arrange(
    model: LanguageModel,
    trunk: int,
    past: Past | None,
    trees: Sequence[Tree],
    rows: Sequence[Items],
    firsts: Sequence[int],
) -> tuple[Tensor, Tensor, dict[int, list[int]], Branching | None]:
    """Return a batch of trees.

    Returns:
        ids: ``(B, T)``, padded on the right.
        where: ``(B, T)`` positions whose logits are needed.
        at: For each row the places of its labelled positions among those.
        branching: How positions see one another, ``None`` where all rows are plain.
    """
    width = max(t.size for t in trees)
    ids = torch.full((len(trees), width), model.pad_id, dtype=torch.int64)
    where = torch.zeros((len(trees), width), dtype=torch.bool)
    columns: dict[int, tuple[int, list[int]]] = {}
    for k, tree in enumerate(trees):
        ids[k, : tree.size] = torch.tensor((*tree.stem, *(x for b in tree.branches for x in b)))
        start = len(tree.stem)
        for row, branch in zip(tree.rows, tree.branches, strict=True):
            # positions of the row from its first labelled one on, as columns of this batch
            path = range(firsts[row] - trunk, len(rows[row]) - trunk)
            shift = start - len(tree.stem)
            needed = [p if p < len(tree.stem) else p + shift for p in path]
            where[k, needed] = True
            columns[row] = (k, needed)
            start += len(branch)
    place = (where.flatten().cumsum(0) - 1).reshape(where.shape)
    at = {row: place[k, needed].tolist() for row, (k, needed) in columns.items()}
    branching = None
    if past is not None or any(len(t.branches) > 1 for t in trees):
        branching = _branching(trees, trunk, width, past, model.device)
    return ids.to(model.device), where.to(model.device), at, branching


def _branching(
    trees: Sequence[Tree], trunk: int, width: int, past: Past | None, device: torch.device
) -> Branching:
    seen = torch.ones((width, width), dtype=torch.bool).tril().repeat(len(trees), 1, 1)
    positions = torch.arange(width).repeat(len(trees), 1)
    for k, tree in enumerate(trees):
        start = stem = len(tree.stem)
        for branch in tree.branches:
            end = start + len(branch)
            seen[k, start:end, stem:start] = False
            positions[k, start:end] = torch.arange(stem, stem + len(branch))
            start = end
    whole = torch.cat([torch.ones((len(trees), width, trunk), dtype=torch.bool), seen], dim=2)
    return Branching(whole.to(device), (positions + trunk).to(device), past)
