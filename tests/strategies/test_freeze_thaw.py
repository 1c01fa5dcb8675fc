"""freeze_thaw: its covariance, its entropies, its behaviour in studies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.ops import gp_kernel
from jobs_bench.runner.machine import Machine
from jobs_bench.space.native import NativeEncoding
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench_strategies.freeze_thaw import FreezeThaw, covariance, entropy_gains, last_refit

Study = Callable[..., Machine]


def test_curves_of_a_trial_decay_together_and_those_of_others_not_at_all() -> None:
    """Eq. 6: ``b^a / (t + t' + b)^a`` within a trial, on top of the asymptotes' covariance."""
    space = small_space()
    encoding = NativeEncoding(space)
    spec, priors = covariance(encoding)
    theta = torch.tensor([box.start for box in priors.theta], dtype=torch.float64)
    row = encoding.encode(space.default())
    rows = torch.as_tensor(
        np.stack([np.append(row, [t, k]) for t, k in ((0.25, 0.0), (1.0, 0.0), (1.0, 1.0))])
    )
    K = gp_kernel(rows, rows, theta, spec)
    named = dict(zip(((p.role, p.term) for p in spec.parameters), theta.tolist(), strict=True))
    ends = named["outputscale", 0]
    curve, a, b = (
        named["outputscale", 1],
        named["power", 1],
        named["fidelity_lengthscale", 1],
    )
    assert float(K[0, 1]) == pytest.approx(ends + curve * (b / (1.25 + b)) ** a)
    assert float(K[0, 0]) == pytest.approx(ends + curve * (b / (0.5 + b)) ** a)
    assert float(K[1, 2]) == pytest.approx(ends)


def test_an_observation_that_decides_takes_all_entropy() -> None:
    """Two equal alternatives: seeing their difference without noise leaves nothing to know."""
    covariance = np.asarray([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0],
                             [1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])  # fmt: skip
    half, nothing = entropy_gains(np.zeros(2), covariance, 1e-9, 8, seed=0)
    assert nothing == pytest.approx(0.0, abs=0.01)
    assert 0.05 < half < math.log(2)
    sure = np.asarray([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    (gain,) = entropy_gains(np.zeros(2), sure, 1e-9, 8, seed=0)
    assert gain == pytest.approx(math.log(2), abs=0.02)


def test_parameters_are_refitted_on_a_ladder() -> None:
    ladder = [last_refit(n) for n in range(200)]
    assert ladder == sorted(ladder)
    assert all(at <= n for n, at in enumerate(ladder))
    assert len(set(ladder)) < 40
    assert last_refit(100) > 100 / 1.3


def test_it_freezes_and_thaws(study: Study) -> None:
    task = Synthetic(seed=2)
    machine = study(FreezeThaw(n_init=4), task, "12x")
    assert any(len(t.notes) > 1 for t in machine.history)
    assert any(len(t.notes) == 1 for t in machine.history)
    rng = np.random.default_rng(0)
    drawn = [task.truth(task.space.sample(rng)) for _ in range(200)]
    assert machine.recommendation is not None
    assert task.truth(machine.recommendation.config) > np.quantile(drawn, 0.8)


def test_refusals() -> None:
    with pytest.raises(OptionError, match="got n_init=1; wanted at least 2"):
        FreezeThaw(n_init=1)
    with pytest.raises(OptionError, match="got fantasies=0"):
        FreezeThaw(fantasies=0)
    with pytest.raises(CapabilityError, match="freeze_thaw needs a task that can resume"):
        FreezeThaw().setup(Synthetic().problem("4x", capabilities=("curves",)))
