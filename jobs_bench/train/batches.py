"""Training batches: tokenised rows, drawn by the mixture stream, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.space.configuration import Mixture
from jobs_bench.task.finetune import Domain, Row
from jobs_bench.train.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row in tokens.

    Attributes:
        ids: Prompt, answer and end token.
        answer: Index of the first answer token, at least 1.
    """

    ids: tuple[int, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one step, padded on the right.

    Attributes:
        input_ids: ``(B, T)`` int64.
        predicts: ``(B, T)`` bool: positions whose *next* token is labelled.
        labels: ``(n,)`` int64: those next tokens, row by row.
        tokens: Tokens without padding.
    """

    input_ids: Tensor
    predicts: Tensor
    labels: Tensor
    tokens: int


def encode_row(model: LanguageModel, row: Row, max_length: int) -> Encoded:
    """Return a row in tokens; a long prompt loses its beginning, a long answer its end."""
    prompt, answer = model.encode_pair(row.prompt, row.answer)
    answer = [*answer, model.end_id][: max_length - 1]
    prompt = prompt[-(max_length - len(answer)) :]
    return Encoded((*prompt, *answer), len(prompt))


def collate(model: LanguageModel, rows: Sequence[Encoded]) -> Batch:
    """Return rows as one batch."""
    width = max(len(r.ids) for r in rows)
    ids = torch.full((len(rows), width), model.pad_id, dtype=torch.int64)
    predicts = torch.zeros((len(rows), width), dtype=torch.bool)
    labels: list[int] = []
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        predicts[i, row.answer - 1 : len(row.ids) - 1] = True
        labels.extend(row.ids[row.answer :])
    device = model.device
    return Batch(
        ids.to(device),
        predicts.to(device),
        torch.tensor(labels, device=device),
        sum(len(r.ids) for r in rows),
    )


class MixtureStream:
    """The batches of every trial of a task: pure functions of (seed, step, mixture)."""

    def __init__(
        self,
        model: LanguageModel,
        domains: Sequence[Domain],
        batch_size: int,
        max_length: int,
        stratified: bool,
    ) -> None:
        for domain in domains:
            if not domain.rows:
                raise DataError(f"domain {domain.name!r} has no rows; wanted at least one")
        self._model = model
        self._names = tuple(d.name for d in domains)
        self._rows = [[encode_row(model, r, max_length) for r in d.rows] for d in domains]
        self._sizes = torch.tensor([len(rows) for rows in self._rows])
        self._batch_size = batch_size
        self._stratified = stratified

    def draw(self, mixture: Mixture, seed: int, start: int, until: int) -> list[list[Encoded]]:
        """Return the rows of the steps ``start + 1 .. until``, one list a step."""
        weights = torch.tensor([ops.freeze_weights([mixture[n] for n in self._names])])
        n = (until - start) * self._batch_size
        domain, row = ops.mix_indices(
            weights,
            self._sizes,
            [seed],
            [start * self._batch_size],
            n,
            stratified=self._stratified,
        )
        pairs = zip(domain[0].tolist(), row[0].tolist(), strict=True)
        rows = [self._rows[d][r] for d, r in pairs]
        size = self._batch_size
        return [rows[i : i + size] for i in range(0, n, size)]

    def batches(self, mixture: Mixture, seed: int, start: int, until: int) -> list[Batch]:
        """Return the batches of the steps ``start + 1 .. until``."""
        return [collate(self._model, rows) for rows in self.draw(mixture, seed, start, until)]
