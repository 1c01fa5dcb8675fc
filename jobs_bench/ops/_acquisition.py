"""Acquisition functions of Gaussian processes, and rows of a mixed space that maximise them.

LogEI (Ament et al. 2023), upper confidence bound and posterior mean, as BoTorch defines them, of a
model or of a weighted sum of independent ones. `optimise_acquisition` is the whole search in one
call: scoring, ascents over intervals and mixtures, changes of levels. What is computed, in plain
PyTorch: `jobs_bench.ops._acquisition_reference`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import _acquisition_reference as reference
from jobs_bench.ops._acquisition_reference import ACQUISITIONS
from jobs_bench.ops._backend import lib
from jobs_bench.ops._design import Design
from jobs_bench.ops._gp import GpState
from jobs_bench.ops._gp_reference import check_finite
from jobs_bench.ops._simplex import project_simplex

_FUNCTION = (
    "Tensor X, Tensor theta, Tensor mean, Tensor inverse, Tensor alpha, Tensor weights, "
    "int[] spec, int kind, float best, float beta"
)
lib.define(f"acquisition(Tensor Xq, {_FUNCTION}, bool x_grad) -> (Tensor, Tensor)")
lib.define(
    f"acquisition_search(Tensor starts, {_FUNCTION}, Tensor bounds, Tensor levels, int[] design,"
    " int restarts, int max_iter, int max_turns) -> (Tensor, Tensor)"
)
lib.impl("acquisition", reference.acquisition, "CompositeExplicitAutograd")
lib.impl("acquisition_search", reference.search, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::acquisition", lib=lib)
def _fake(Xq: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    q, d = Xq.shape
    return Xq.new_empty((q,)), Xq.new_empty((q if args[-1] else 0, d))


@torch.library.register_fake("jobs_bench::acquisition_search", lib=lib)
def _fake_search(starts: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    count = min(starts.shape[0], args[-3])
    return starts.new_empty((count, starts.shape[1])), starts.new_empty((count,))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.x_grad = inputs[-1]
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if any(ctx.needs_input_grad[1:]) or not ctx.x_grad:
        raise RuntimeError("acquisition: gradients exist with respect to Xq only, with x_grad")
    return (grad.unsqueeze(-1) * ctx.saved_tensors[0], *[None] * 11)


def _refuse(*_: object) -> tuple[Tensor | None, ...]:
    raise RuntimeError("acquisition_search: got a derivative, of which there is none")


torch.library.register_autograd("jobs_bench::acquisition", _backward, setup_context=_setup, lib=lib)
torch.library.register_autograd("jobs_bench::acquisition_search", _refuse, lib=lib)


@dataclass(frozen=True)
class Acquisition:
    """What to maximise.

    Attributes:
        kind: ``log_ei``, the logarithm of the expected improvement on `best`; ``ucb``, the mean
            plus ``sqrt(beta)`` standard deviations; ``mean``. Variances count as at least 1e-12.
        best: In the unit of the model's y.
        beta: At least 0.

    Raises:
        DataError: Another kind, numbers out of their ranges.
    """

    kind: str
    best: float = 0.0
    beta: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.kind not in ACQUISITIONS:
            raise DataError(f"got kind {self.kind!r}; wanted one of {', '.join(ACQUISITIONS)}")
        if not (math.isfinite(self.best) and math.isfinite(self.beta) and self.beta >= 0):
            raise DataError(
                f"got best={self.best}, beta={self.beta}; wanted finite, beta at least 0"
            )


def _function(state: GpState, acq: Acquisition, weights: Tensor | None) -> tuple[Any, ...]:
    M = state.theta.shape[0]
    if M == 0:
        raise DataError(f"got theta {tuple(state.theta.shape)}; wanted at least one model")
    if weights is None:
        if not state.single:
            raise DataError(f"got {M} models and no weights; wanted ({M},) of them")
        weights = torch.ones(M, dtype=torch.float64)
    if weights.dtype != torch.float64 or weights.shape != (M,):
        raise DataError(
            f"got weights {tuple(weights.shape)} of {weights.dtype}; wanted ({M},) of torch.float64"
        )
    check_finite(weights=weights)
    kind = ACQUISITIONS.index(acq.kind)
    X, theta, mean, inverse, alpha = state[:5]
    spec = state.spec.code
    return X, theta, mean, inverse, alpha, weights, spec, kind, float(acq.best), float(acq.beta)


def _rows(name: str, rows: Tensor, d: int) -> Tensor:
    if rows.dtype != torch.float64 or rows.ndim != 2 or rows.shape[1] != d:
        raise DataError(
            f"got {name} {tuple(rows.shape)} of {rows.dtype}; wanted (any, {d}) of torch.float64"
        )
    check_finite(**{name: rows})
    return rows


def _hold(starts: Tensor, design: Design, fixed: Iterable[int]) -> Tensor:
    """Return `starts` with `fixed` columns at their value, other weights of mixtures moved."""
    starts = starts.detach().clone()
    bounds = torch.tensor([design.low, design.high], dtype=torch.float64)
    for column in fixed:
        starts[:, column] = bounds[0, column]
    for start, stop in design.simplexes:
        if any(start <= column < stop for column in fixed):
            starts[:, start:stop] = project_simplex(starts[:, start:stop], *bounds[:, start:stop])
    return starts


def acquisition(
    state: GpState, Xq: Tensor, acq: Acquisition, *, weights: Tensor | None = None
) -> Tensor:
    """Return the acquisition function's values, ``(q,)``, differentiable once in `Xq`.

    Args:
        state: From `gp_condition`.
        Xq: ``(q, d)``; a finite pool, or any rows.
        acq: Which function.
        weights: ``(M,)``; the objective is ``sum_m weights[m] f_m``. Needed for a state of M
            models, as those of the losses of several domains (then with weights below 0).

    Raises:
        DataError: Arguments that do not fit together or are not finite.
    """
    _rows("Xq", Xq, state.X.shape[-1])
    x_grad = Xq.requires_grad and torch.is_grad_enabled()
    op = torch.ops.jobs_bench.acquisition.default
    value: Tensor = op(Xq, *_function(state, acq, weights), x_grad)[0]
    return value


def best_candidate(
    state: GpState, pool: Tensor, acq: Acquisition, *, weights: Tensor | None = None
) -> tuple[int, float]:
    """Return which row of a finite pool has the highest value (the first, on ties), and the value.

    Args:
        state: From `gp_condition`.
        pool: ``(q, d)``, q at least 1.
        acq: Which function.
        weights: See `acquisition`.

    Raises:
        DataError: An empty pool, or what `acquisition` raises.
    """
    if pool.shape[:1] == (0,):
        raise DataError(f"got a pool {tuple(pool.shape)}; wanted at least one row")
    values = acquisition(state, pool.detach(), acq, weights=weights).nan_to_num(-math.inf)
    at = int(values.argmax())
    return at, float(values[at])


def optimise_acquisition(
    state: GpState,
    acq: Acquisition,
    design: Design,
    *,
    starts: Tensor,
    weights: Tensor | None = None,
    fixed: Mapping[int, float] | None = None,
    restarts: int = 16,
    max_iter: int = 200,
    max_turns: int = 8,
) -> tuple[Tensor, Tensor]:
    """Return rows of `design` that locally maximise an acquisition function, best first.

    All starts are scored in one call. The best `restarts` of them that lie apart (by a root mean
    square of 0.15 of the columns' ranges, or in a level) are improved in turns: over intervals and
    mixtures by a projected quasi-Newton method (in their square roots for mixtures that the
    covariance takes roots of), over levels by the best change of one, until neither gains. A value
    never falls, so that the first row is at least as good as any start.

    Args:
        state: From `gp_condition`.
        acq: Which function.
        design: The rows that are allowed.
        starts: ``(R, d)`` rows of the design, R at least 1; `Design.draw` makes some.
        weights: See `acquisition`.
        fixed: Columns that are held at a value, for starts too.
        restarts: How many starts to improve, at least 1.
        max_iter: Iterations of each ascent.
        max_turns: Ascents and searches over levels of each start.

    Returns:
        Rows ``(S, d)`` and their values ``(S,)``, S the smaller of R and `restarts`. The same bits
        at any number of threads.

    Raises:
        DataError, RuntimeError: Arguments that do not fit together; starts that are not rows of the
            design.
    """
    d = state.X.shape[-1]
    if design.d != d:
        raise DataError(f"got a design of {design.d} columns; wanted {d}, as the model has")
    if fixed:
        design = design.fix(fixed)
        starts = _hold(_rows("starts", starts, d), design, fixed)
    _rows("starts", starts, d)
    if len(starts) == 0 or restarts < 1:
        raise DataError(
            f"got {len(starts)} starts and restarts={restarts}; wanted at least 1 of each"
        )
    if max_iter < 0 or max_turns < 0:
        raise DataError(f"got max_iter={max_iter}, max_turns={max_turns}; wanted at least 0")
    op = torch.ops.jobs_bench.acquisition_search.default
    function = _function(state, acq, weights)
    code = design.code(state.spec.roots)
    rows, values = op(starts.detach(), *function, *code, restarts, max_iter, max_turns)
    return rows, values
