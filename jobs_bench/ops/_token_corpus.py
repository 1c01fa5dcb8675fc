"""Corpus files opened for training: streams of batches without a dispatcher in between."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs_bench.errors import DataError, JobsBenchError
from jobs_bench.ops._corpus import CorpusTensors
from jobs_bench.ops._corpus_file import map_corpus
from jobs_bench.ops._mix import call
from jobs_bench.ops._mix_batch import MixBatch, MixStreams, check_row, is_wide, mix_batch
from jobs_bench.ops._mix_pack import MixPack, check_rows, mix_pack, refuse_left_out
from jobs_bench.ops._mix_tree import FOREVER


def _load() -> Any:
    try:
        return importlib.import_module("jobs_bench._host")
    except ModuleNotFoundError as err:  # not built: fine. Built and broken: not fine.
        if err.name != "jobs_bench._host":
            raise
        return None


_HOST = _load()


class TokenCorpus:
    """A corpus file, mapped into memory and looked through once, when it is opened.

    Attributes:
        tensors: Its numbers, which lie in the file.
    """

    def __init__(self, path: Path, *, vocabulary: int | None = None) -> None:
        """Open a file.

        Args:
            path: A file of `write_corpus`.
            vocabulary: Ids there are. Given, every token is looked at, which reads the whole file.

        Raises:
            DataError: The file is not what its format says, or holds an id outside the vocabulary.
        """
        self.tensors: CorpusTensors = map_corpus(path)
        if vocabulary is not None:
            try:
                self.tensors.check_vocabulary(vocabulary)
            except DataError as err:
                raise DataError(str(err), path) from err

    def stream(
        self,
        weights: Tensor,
        seeds: Sequence[int],
        *,
        n: int,
        length: int,
        pad: int = 0,
        dtype: torch.dtype = torch.int64,
        stratified: bool = True,
        caps: Sequence[int] = (),
    ) -> CorpusStream:
        """Return K training streams over the corpus; the arguments are `CorpusStream`'s.

        Raises:
            DataError: Arguments that do not fit together.
        """
        streams = MixStreams(self.tensors, weights, tuple(seeds), stratified, tuple(caps))
        return CorpusStream(streams, n=n, length=length, pad=pad, dtype=dtype)


class CorpusStream:
    """K training streams whose steps are written into the same memory again and again.

    Step s holds the documents at positions ``s * n .. (s + 1) * n - 1`` of each stream, padded or
    packed: the bits of `mix_batch` and `mix_pack` at those positions, at any step in any order,
    with little between the call and the loop over rows. Where the module for it was not built,
    those operators do the work (`native` is ``False``).

    What a call returns is overwritten by the next call of the same method; clone it to keep it.

    Args:
        streams: The streams, over a corpus on the CPU.
        n: Documents of each stream and step, at least 1.
        length: Tokens of a row, ``[1, 2**31)``; a longer document loses its end.
        pad: What fills up the rows.
        dtype: Of the ids, ``torch.int64`` or ``torch.int32``.

    Raises:
        DataError: Arguments that do not fit together.
        JobsBenchError: ``JOBS_BENCH_REQUIRE_NATIVE`` is set and the module was not built.
    """

    def __init__(
        self,
        streams: MixStreams,
        *,
        n: int,
        length: int,
        pad: int = 0,
        dtype: torch.dtype = torch.int64,
    ) -> None:
        if n < 1:
            raise DataError(f"got n={n}; wanted at least 1 document a step")
        check_row(length, pad, is_wide(dtype))
        corpus = streams.corpus
        if corpus.tokens.device.type != "cpu":
            raise DataError(f"got a corpus on {corpus.tokens.device}; wanted it on the cpu")
        self._streams, self._n, self._length, self._pad = streams, n, length, pad
        self._dtype = dtype
        self._batch: tuple[MixBatch, tuple[Any, ...]] | None = None
        self._pack: tuple[MixPack, tuple[Any, ...]] | None = None
        self._host: Any = None
        if _HOST is None and os.environ.get("JOBS_BENCH_REQUIRE_NATIVE"):
            raise JobsBenchError(
                f"JOBS_BENCH_REQUIRE_NATIVE={os.environ['JOBS_BENCH_REQUIRE_NATIVE']}, but "
                "jobs_bench._host was not built"
            )
        if _HOST is not None:
            arrays = (corpus.tokens, corpus.offsets, corpus.domains, streams.weights.contiguous())
            self._host = call(
                _HOST.CorpusStream,
                *(a.numpy() for a in arrays),
                streams.seeds,
                streams.caps,
                streams.stratified,
            )

    @property
    def native(self) -> bool:
        """Whether the rows are written by the compiled module."""
        return self._host is not None

    def batch(self, step: int) -> MixBatch:
        """Return a padded step, from 0.

        Raises:
            DataError: A step below 0 or after the end of a stream.
        """
        self._check(step)
        if self._host is None:
            starts = [step * self._n] * len(self._streams.seeds)
            return mix_batch(
                self._streams, starts, self._n, self._length, pad=self._pad, dtype=self._dtype
            )
        if self._batch is None:
            streams = len(self._streams.seeds)
            ids = torch.empty((streams, self._n, self._length), dtype=self._dtype)
            table = torch.empty((3, streams, self._n), dtype=torch.int64)
            self._batch = MixBatch(ids, *table.unbind()), (ids.numpy(), table.numpy())
        out, arrays = self._batch
        call(self._host.batch, step, self._pad, *arrays)
        return out

    def pack(self, step: int, rows: int, *, whole: bool = True) -> MixPack:
        """Return a packed step, from 0, in `rows` rows a stream.

        Args:
            step: Which.
            rows: Rows of each stream, at least 0; n always suffice.
            whole: Refuse documents that find no room; ``False``: they are `MixPack.left_out`.

        Raises:
            DataError: A step below 0 or after the end of a stream, or documents left out.
        """
        self._check(step)
        check_rows(rows)
        starts = [step * self._n] * len(self._streams.seeds)
        if self._host is None:
            return mix_pack(
                self._streams,
                starts,
                self._n,
                rows,
                self._length,
                pad=self._pad,
                dtype=self._dtype,
                whole=whole,
            )
        if self._pack is None or self._pack[0].documents.shape[1] != rows:
            self._pack = self._pack_memory(rows)
        out, arrays = self._pack
        placed = call(self._host.pack, step, self._pad, *arrays)
        if whole:
            refuse_left_out(out, placed, starts)
        return out

    def _check(self, step: int) -> None:
        if not 0 <= step < FOREVER // self._n:
            raise DataError(f"got step {step}; wanted [0, 2**60 // {self._n})")

    def _pack_memory(self, rows: int) -> tuple[MixPack, tuple[Any, ...]]:
        streams = len(self._streams.seeds)
        ids = torch.empty((streams, rows, self._length), dtype=self._dtype)
        layout = torch.empty((2, *ids.shape), dtype=torch.int32)
        documents = torch.empty((streams, rows), dtype=torch.int32)
        table = torch.empty((3, streams, self._n), dtype=torch.int64)
        arrays = tuple(t.numpy() for t in (ids, layout, documents, table))
        position, segment = layout.unbind()
        return MixPack(ids, position, segment, documents, *table.unbind()), arrays
