"""DSIR: shares by how much the rows of a domain look like the target, without any training."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.sparse import csr_array

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import Problem, StrategyInfo
from jobs_bench.texts import Texts
from jobs_bench_strategies.mixing.fixed import Uniform

BUCKETS: Final = 10_000
KEEP: Final = 0.1
_WORD = re.compile(r"\w+|[^\w\s]")


class Dsir(Uniform):
    """Data selection by importance resampling, read as a mixture; one full run.

    Reference: Xie et al. 2023, arXiv 2302.03169, section 3. Texts are bags of hashed words and
    pairs of words in 10,000 buckets; ``p`` is the distribution of buckets in the target (here the
    visible questions with their answers), ``q`` that in the training rows, both smoothed by one
    count a bucket. A row weighs ``sum_j n_j log(p_j / q_j)``; a share `keep` of the rows is drawn
    without replacement in proportion to the exponent of that (Gumbel top-k). The mixture has each
    domain's share of the rows that were kept. What differs: each row's weight is divided by its
    domain's rows, so that a domain is not preferred for being large, and within a domain rows are
    not selected. Cost of an ask: one pass over all rows, before the first.

    Args:
        keep: Share of the rows that are kept, ``(0, 1)``.
    """

    info = StrategyInfo(
        "dsir",
        "Shares of all domains by their texts' likeness to the target, default recipe",
        blocks=("data",),
        needs=frozenset({"texts"}),
        reference="Xie et al. 2023, arXiv 2302.03169",
    )

    def __init__(self, *, keep: float = KEEP) -> None:
        if not 0 < keep < 1:
            raise OptionError(f"got keep={keep}; wanted a share in (0, 1)")
        super().__init__()
        self.keep = keep

    def shares(self, problem: Problem, names: Sequence[str], prior: np.ndarray) -> np.ndarray:
        """Return each domain's share of the rows that are kept, ``(k,)``."""
        del prior
        assert problem.texts is not None  # the capability says so
        return likeness(problem.texts(), names, self.keep)


def likeness(texts: Texts, names: Sequence[str], keep: float = KEEP) -> np.ndarray:
    """Return each domain's share of the rows that are kept for the target, ``(k,)``.

    Args:
        texts: Of the task.
        names: Domains, in the order of the answer.
        keep: Share of the rows that are kept, ``(0, 1)``.
    """
    rows = [row for name in names for row in texts.domains[name]]
    logits = importance(bags(rows), bags(texts.target))
    sizes = np.asarray([len(texts.domains[name]) for name in names])
    owner = np.repeat(np.arange(len(names)), sizes)
    kept = resample(logits - np.log(sizes)[owner], max(round(keep * sizes.sum()), 1))
    counts = np.bincount(owner[kept], minlength=len(names))
    found: np.ndarray = counts / counts.sum()
    return found


def bags(texts: Sequence[str]) -> csr_array:
    """Return how often each bucket occurs in each text, ``(n, BUCKETS)``."""
    buckets: list[int] = []
    ends = [0]
    for text in texts:
        words = _WORD.findall(text.lower())
        pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
        buckets += [zlib.crc32(gram.encode()) % BUCKETS for gram in (*words, *pairs)]
        ends.append(len(buckets))
    found = csr_array((np.ones(len(buckets)), buckets, ends), shape=(len(texts), BUCKETS))
    found.sum_duplicates()
    return found


def importance(rows: csr_array, target: csr_array) -> np.ndarray:
    """Return the log-weight of each row, ``(n,)``: log-odds of the target against all rows."""
    p, q = (np.asarray(bag.sum(axis=0)).ravel() + 1.0 for bag in (target, rows))
    weights: np.ndarray = rows @ np.log(p / p.sum() / (q / q.sum()))
    return weights


def resample(logits: np.ndarray, k: int) -> np.ndarray:
    """Return `k` places drawn without replacement by the softmax of `logits` (Gumbel top-k).

    The generator's seed is fixed: the mixture is a function of the texts.
    """
    noise = np.random.default_rng(0).gumbel(size=len(logits))
    order: np.ndarray = np.argsort(-(logits + noise), kind="stable")
    return order[:k]
