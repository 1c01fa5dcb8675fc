"""What the surrogate of a table sees of a configuration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.presets import lora_space, paper_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.table.gp import features

MIXTURE = Simplex("mixture", ("web", "books"))


def test_how_far_a_step_moves_the_weights_is_a_column_of_lora_spaces() -> None:
    space = lora_space(MIXTURE, 1, methods=("lora",))
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(50)]
    rows = features(space)(configs)
    moved = [math.log(c.number("learning_rate") * c.number("scaling")) for c in configs]
    axes = {a.name: a for a in space.axes}
    ends = [
        sum(math.log(getattr(axes[n], end)) for n in ("learning_rate", "scaling"))
        for end in ("low", "high")
    ]
    assert rows[:, -2] == pytest.approx((np.array(moved) - ends[0]) / (ends[1] - ends[0]))
    assert rows[:, -2:].min() >= 0
    assert rows[:, -2:].max() <= 1


def test_other_spaces_keep_their_columns() -> None:
    space = paper_space(MIXTURE, 4)
    encoding = NativeEncoding(space)
    names = [int(encoding.columns[i].levels[-1]) for i in encoding.of_kind("category")]
    assert features(space)([space.default()]).shape == (1, encoding.d + sum(names))
