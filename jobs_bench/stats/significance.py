"""Which methods differ: the test that the number of tasks allows, or none, in words.

Friedman with Nemenyi after Demsar 2006 (JMLR 7); Wilcoxon signed ranks with Holm's correction
where there are too few tasks for ranks. The tests themselves are scipy's, scikit-posthocs' and
statsmodels'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import scikit_posthocs
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from jobs_bench.stats.ranks import tied_ranks

ALPHA = 0.05
MIN_METHODS = 3
MIN_TASKS = 5
MIN_PAIRS = 6
"""Fewer pairs cannot reach 5 % in a two-sided signed-rank test (2 / 2**5 = 0.0625)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Significance:
    """What was tested and found.

    Attributes:
        test: ``friedman-nemenyi``, ``wilcoxon-holm`` or ``none``.
        statement: The same in a sentence or two, for a reader.
        p_value: Of the Friedman test, NaN for the others.
        pairs: Corrected p-value of each pair of methods.
        critical_difference: Of mean ranks, NaN unless Nemenyi's test was made.
    """

    test: str
    statement: str
    p_value: float = math.nan
    pairs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    critical_difference: float = math.nan

    def differ(self, a: str, b: str) -> bool:
        """Return whether the two were found to differ at the 5 % level."""
        p = self.pairs.get((a, b), self.pairs.get((b, a), 1.0))
        return p < ALPHA and not self.p_value >= ALPHA


def critical_difference(n_methods: int, n_tasks: int) -> float:
    """Return the distance of mean ranks from which on Nemenyi's test separates two methods.

    Demsar 2006, equation in section 3.2.2: ``q * sqrt(k (k + 1) / (6 N))``.
    """
    q = float(stats.studentized_range.ppf(1 - ALPHA, n_methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_tasks))


def significance(
    runs: Sequence[Mapping[str, Mapping[int, float]]],
    noise: Sequence[float],
    methods: Sequence[str],
) -> Significance:
    """Return the test of all methods against each other.

    Args:
        runs: For each task the score of each method by study seed.
        noise: Noise floor of each task, in the unit of the scores.
        methods: Who is tested; each must be in every task.
    """
    n_tasks, n_methods = len(runs), len(methods)
    if n_methods < 2:
        return Significance("none", f"Too few, not tested: {n_methods} method.")
    if n_methods >= MIN_METHODS and n_tasks >= MIN_TASKS:
        means = np.array([[np.mean(list(task[m].values())) for m in methods] for task in runs])
        return _friedman(tied_ranks(means, np.asarray(noise)), methods)
    return _wilcoxon(runs, noise, methods)


def _friedman(ranks: Floats, methods: Sequence[str]) -> Significance:
    n_tasks, n_methods = ranks.shape
    if np.ptp(ranks, axis=1).max() == 0:
        p_value = 1.0  # everyone ties everywhere: the statistic is 0 / 0
        pairs = dict.fromkeys(combinations(methods, 2), 1.0)
    else:
        p_value = float(stats.friedmanchisquare(*ranks.T).pvalue)
        table = scikit_posthocs.posthoc_nemenyi_friedman(ranks).to_numpy()
        pairs = {
            (methods[i], methods[j]): float(table[i, j])
            for i, j in combinations(range(n_methods), 2)
        }
    found = "differ" if p_value < ALPHA else "cannot be told apart"
    statement = (
        f"Friedman test over {n_tasks} tasks and {n_methods} methods: they {found} "
        f"(p = {p_value:.2g}). Nemenyi's test separates two methods whose mean ranks are more "
        f"than {critical_difference(n_methods, n_tasks):.2f} apart."
    )
    return Significance(
        "friedman-nemenyi", statement, p_value, pairs, critical_difference(n_methods, n_tasks)
    )


def _wilcoxon(
    runs: Sequence[Mapping[str, Mapping[int, float]]],
    noise: Sequence[float],
    methods: Sequence[str],
) -> Significance:
    raw: dict[tuple[str, str], float] = {}
    for a, b in combinations(methods, 2):
        differences = []
        for task, floor in zip(runs, noise, strict=True):
            both = sorted(set(task[a]) & set(task[b]))
            found = np.array([task[a][s] - task[b][s] for s in both])
            differences.append(np.where(np.abs(found) <= floor, 0.0, found))
        d = np.concatenate(differences) if differences else np.array([])
        if len(d) >= MIN_PAIRS:
            raw[a, b] = 1.0 if not d.any() else float(stats.wilcoxon(d).pvalue)
    why = f"{len(runs)} task{'s' if len(runs) != 1 else ''} and {len(methods)} methods"
    if not raw:
        return Significance(
            "none", f"Too few, not tested: {why}, and no pair has {MIN_PAIRS} runs in common."
        )
    corrected = multipletests(list(raw.values()), alpha=ALPHA, method="holm")[1]
    pairs = dict(zip(raw, map(float, corrected), strict=True))
    n = sum(p < ALPHA for p in pairs.values())
    statement = (
        f"Too few for a test of ranks ({why}; it wants {MIN_METHODS} methods and {MIN_TASKS} "
        f"tasks). Wilcoxon signed-rank tests of runs paired by task and seed, with Holm's "
        f"correction: {n} of {len(pairs)} pairs differ at the 5 % level, on these tasks."
    )
    return Significance("wilcoxon-holm", statement, math.nan, pairs)
