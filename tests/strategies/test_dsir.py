"""DSIR: importance by hand, sampling without replacement, and mixtures that follow the target."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from jobs_bench.errors import OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.texts import Texts
from jobs_bench_strategies.mixing.dsir import BUCKETS, Dsir, bags, importance, resample

Study = Callable[..., Machine]


def test_a_bag_has_words_and_pairs() -> None:
    bag = bags(["Red, red red.", ""])
    # red x 3, comma, stop; "red ,", ", red", "red red", "red ."
    assert bag.shape == (2, BUCKETS)
    assert sorted(bag[[0]].data.tolist()) == [1, 1, 1, 1, 1, 1, 3]
    assert bag[[1]].nnz == 0


def test_importance_is_the_log_odds_of_the_counts() -> None:
    rows, target = bags(["a", "b"]), bags(["a", "a"])
    total_p, total_q = 2 + BUCKETS, 2 + BUCKETS
    p = [3 / total_p, 1 / total_p]
    q = [2 / total_q, 2 / total_q]
    wanted = [math.log(a / b) for a, b in zip(p, q, strict=True)]
    assert importance(rows, target) == pytest.approx(wanted)


def test_rows_are_drawn_without_replacement_in_proportion_to_their_weights() -> None:
    kept = resample(np.log(np.repeat([3.0, 1.0], 4000)), 800)
    assert len(set(kept.tolist())) == 800
    assert (kept < 4000).mean() == pytest.approx(0.75, abs=0.05)
    assert (kept == resample(np.log(np.repeat([3.0, 1.0], 4000)), 800)).all()


def test_the_mixture_is_of_what_looks_like_the_target_whatever_the_sizes() -> None:
    class Read(Synthetic):
        def texts(self) -> Texts:
            names = self._domains()
            rows = {
                d: [f"word{i} {d}" for i in range(n)]
                for d, n in zip(names, (40, 400, 400), strict=True)
            }
            return Texts(rows, [f"what is {names[0]} and {names[0]}"] * 20)

    task = Read()
    problem = task.problem("2x")
    method = Dsir(keep=0.03)
    method.setup(problem)
    mixture = method.recommend().config.mixture()
    first, *others = mixture.values()
    assert first > 0.6 > max(others)


def test_it_costs_one_full_run(study: Study) -> None:
    machine = study(Dsir(), Synthetic(), "4x")
    assert [t.step for t in machine.history] == [machine.problem.fidelity.horizon]
    with pytest.raises(OptionError, match=r"got keep=1.0; wanted a share in \(0, 1\)"):
        Dsir(keep=1.0)
