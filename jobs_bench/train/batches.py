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
    """The batches of every trial of a task: pure functions of (seed, step, mixture).

    A row is tokenised when it is first drawn: a worker whose trials see few of a large data set
    starts at once.
    """

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
        self._rows = [d.rows for d in domains]
        self._encoded: dict[tuple[int, int], Encoded] = {}
        self._max_length = max_length
        self._sizes = torch.tensor([len(rows) for rows in self._rows])
        self._batch_size = batch_size
        self._stratified = stratified

    @property
    def longest(self) -> int:
        """Return the tokens of the longest row, that is of each domain's longest text."""
        texts = [[len(row.prompt) + len(row.answer) for row in rows] for rows in self._rows]
        rows = [(d, lengths.index(max(lengths))) for d, lengths in enumerate(texts)]
        return max(len(self._row(*where).ids) for where in rows)

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
        rows = [self._row(d, r) for d, r in pairs]
        size = self._batch_size
        return [rows[i : i + size] for i in range(0, n, size)]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the domains, in the order of `draw_on`'s numbers."""
        return self._names

    def draw_on(
        self, shares: Sequence[float], seed: int, start: int, until: int, drawn: Sequence[int]
    ) -> tuple[list[list[Encoded]], list[list[int]]]:
        """Return the rows of the steps ``start + 1 .. until``, and of which domain each one is.

        Like `draw`, for a trial whose mixture was another one before: `drawn` says how many rows
        of each domain it has had, and the rows go on from there, so that none comes twice before
        all of its domain came once. Under the same shares from the beginning it equals `draw`.
        """
        size, n = self._batch_size, (until - start) * self._batch_size
        weights = torch.tensor([ops.freeze_weights(list(shares))])
        domains, rows = ops.mix_indices(
            weights, self._sizes, [seed], [start * size], n, stratified=self._stratified
        )
        owner, row = domains[0], rows[0]
        if self._stratified:  # with replacement there is nothing to go on from
            for d, before in enumerate(drawn):
                mine = owner == d
                if count := int(mine.sum()):
                    row[mine] = self._rows_of(d, seed, before, count)
        pairs = list(zip(owner.tolist(), row.tolist(), strict=True))
        encoded = [self._row(d, r) for d, r in pairs]
        return (
            [encoded[i : i + size] for i in range(0, n, size)],
            [[d for d, _ in pairs[i : i + size]] for i in range(0, n, size)],
        )

    def of_domain(self, domain: int, seed: int, start: int, count: int) -> list[Encoded]:
        """Return `count` rows of one domain from position `start` of its own stream."""
        return [self._row(domain, r) for r in self._rows_of(domain, seed, start, count).tolist()]

    def _rows_of(self, domain: int, seed: int, start: int, count: int) -> Tensor:
        alone = [float(d == domain) for d in range(len(self._names))]
        weights = torch.tensor([ops.freeze_weights(alone)])
        stratified = self._stratified
        _, rows = ops.mix_indices(
            weights, self._sizes, [seed], [start], count, stratified=stratified
        )
        return rows[0]

    def batches(self, mixture: Mixture, seed: int, start: int, until: int) -> list[Batch]:
        """Return the batches of the steps ``start + 1 .. until``."""
        return [collate(self._model, rows) for rows in self.draw(mixture, seed, start, until)]

    def _row(self, domain: int, row: int) -> Encoded:
        found = self._encoded.get((domain, row))
        if found is None:
            found = encode_row(self._model, self._rows[domain][row], self._max_length)
            self._encoded[domain, row] = found
        return found
