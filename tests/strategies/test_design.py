from __future__ import annotations

import numpy as np
import pytest

from jobs_bench.ops._acquisition_reference import _Space
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.presets import METHODS, lora_space, paper_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench_strategies._design import design_of

MIXTURE = Simplex("mixture", ("a", "b", "c", "d"), caps=(0.3, 0.5, 1.0, 1.0))
SPACES = {
    "lora": lora_space(MIXTURE, 12, methods=METHODS),
    "paper": paper_space(MIXTURE, 40),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_rows_of_configurations_are_of_the_design(space: Space) -> None:
    encoding = NativeEncoding(space)
    design = design_of(encoding)
    rng = np.random.default_rng(0)
    rows = encoding.encode_all([space.default(), *(space.sample(rng) for _ in range(200))])
    _Space(*design.code(())).check(rows)
    settled = rows.copy()
    design.settle(settled)
    np.testing.assert_array_equal(settled, rows)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_rows_of_the_design_are_configurations(space: Space) -> None:
    encoding = NativeEncoding(space)
    rows = design_of(encoding).draw(200, 1).numpy()
    back = encoding.encode_all([encoding.decode(row) for row in rows])
    np.testing.assert_allclose(back, rows, atol=1e-3)  # weights are realised to whole shares


def test_what_a_fixed_axis_switches_off_rests() -> None:
    space = SPACES["lora"]
    method = next(axis for axis in space.axes if axis.name == "method")
    fixed = Space(
        tuple(axis for axis in space.axes if axis is not method),
        space.conditions,
        space.default().__class__({"method": "full"}),
    )
    encoding = NativeEncoding(fixed)
    rows = design_of(encoding).draw(50, 2).numpy()
    off = [i for i, c in enumerate(encoding.columns) if c.axis in ("r", "scaling", "lora_dropout")]
    assert off
    assert (rows[:, off] == encoding.encode(fixed.default())[off]).all()
