"""The operator `gp_fit`: its schema, and a plain search that does it where nothing is compiled.

The plain search is SciPy's L-BFGS-B over the operator `gp_mll`; the compiled one (csrc/cpu/lbfgs.h)
takes other steps to points of the same kind. csrc/ops/gp_fit.cpp says what arguments are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib
from jobs_bench.ops._gp_priors import KINDS, Numbers

STOPS = ("gradient", "decrease", "iterations", "evaluations", "search", "failed")
"""How a search ends, in the order of csrc/cpu/lbfgs.h."""

_MEMORY = 30  # steps from which the curvature is known
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

_WALL = 1e10  # loss a row where the likelihood fails

lib.define(
    "gp_fit(Tensor X, Tensor y, Tensor known_noise, int[] spec, int[] priors, int[] leaders,"
    " Tensor boxes, Tensor starts, int max_iter, int max_evaluations, float gradient_tol,"
    " float decrease_tol) -> (Tensor, Tensor, Tensor)"
)


class _Regression:
    """One model's log posterior in the coordinates that are searched."""

    def __init__(
        self,
        data: tuple[Tensor, Tensor, Tensor],
        spec: Sequence[int],
        priors: list[tuple[int, float, float]],
        leaders: Sequence[int],
        boxes: Numbers,
    ) -> None:
        self.X, self.y, self.known = data
        self.rows = max(self.y.shape[-1], 1)
        self.spec = list(spec)
        self.priors = [None if kind == 0 else KINDS[kind](a, b) for kind, a, b in priors]
        self.leaders = list(leaders)
        self.low, self.high = boxes[:, 0], boxes[:, 1]
        leads = self.leaders == np.arange(len(boxes))
        self.own = np.flatnonzero(leads)
        self.at = np.flatnonzero(leads & (self.low < self.high))
        self.log = self.low > 0
        spread = float(self.y.std(correction=0)) if self.y.numel() else 0.0
        self.unit = np.ones(len(boxes))
        self.unit[-1] = spread if 0 < spread < np.inf else 1.0

    def coordinates(self, x: Vector) -> Vector:
        """Return where `x` is searched: one number for each free parameter."""
        with np.errstate(divide="ignore", invalid="ignore"):
            out: Vector = np.where(self.log, np.log(x), x / self.unit)[self.at]
        return out

    def place(self, start: Vector, z: Vector) -> Vector:
        """Return all parameters; those that are not free from `start`."""
        x = np.clip(start, self.low, self.high)
        log = self.log[self.at]
        free = np.where(log, np.exp(np.where(log, z, 0.0)), z * self.unit[self.at])
        x[self.at] = np.clip(free, self.low[self.at], self.high[self.at])
        return x[self.leaders]

    def log_posterior(self, x: Vector) -> tuple[float, Vector]:
        """Return the value at all parameters, and its gradient to those that lead."""
        t = torch.from_numpy(x).to(self.y.device)
        noise = t[-2] + self.known if self.known.numel() else t[-2].reshape(1, 1)
        out = torch.ops.jobs_bench.gp_mll.default(
            self.X, self.y, t[None, :-2], noise, t[-1:], self.spec, False
        )
        value = float(out[0])
        slope = np.array([*out[4][0].tolist(), float(out[5].sum()), float(out[6])])
        for k in self.own:
            prior = self.priors[k]
            if prior is not None:
                value += prior.log_density(float(x[k]))
                slope[k] += prior.slope(float(x[k]))
        led = np.zeros_like(slope)
        np.add.at(led, self.leaders, slope)
        if not (np.isfinite(value) and np.isfinite(led).all()):
            raise DataError(f"got value {value} or a gradient that is not finite")
        return value, led


class _Search(NamedTuple):
    x: Vector
    value: float
    evaluations: int
    stop: int
    reason: str


def _search(
    model: _Regression,
    start: Vector,
    max_iter: int,
    max_evaluations: int,
    gradient_tol: float,
    decrease_tol: float,
) -> _Search:
    evaluations = 0
    begin = model.coordinates(np.clip(start, model.low, model.high))
    best, best_z = np.inf, begin
    reason = ""

    def loss(z: Vector) -> tuple[float, Vector]:
        nonlocal evaluations, best, best_z, reason
        evaluations += 1
        x = model.place(start, z)
        try:
            value, slope = model.log_posterior(x)
        except (DataError, RuntimeError) as error:
            reason = str(error)
            return _WALL, np.zeros_like(z)
        if -value / model.rows < best:
            best, best_z = -value / model.rows, z.copy()
        inner = slope[model.at] * np.where(model.log, x, model.unit)[model.at]
        return -value / model.rows, -inner / model.rows

    first, slope = loss(begin)
    if not np.isfinite(best):
        return _Search(
            model.place(start, begin), np.nan, evaluations, STOPS.index("failed"), reason
        )
    stop = STOPS.index("gradient")

    def from_start(z: Vector) -> tuple[float, Vector]:
        return (first, slope) if np.array_equal(z, begin) else loss(z)

    if len(begin) and max_iter:
        result = scipy.optimize.minimize(
            from_start,
            begin,
            jac=True,
            method="L-BFGS-B",
            bounds=scipy.optimize.Bounds(
                model.coordinates(model.low), model.coordinates(model.high)
            ),
            options={
                "maxcor": _MEMORY,
                "maxiter": max_iter,
                "maxfun": max_evaluations,
                "gtol": gradient_tol,
                "ftol": decrease_tol / max(abs(first), 1.0),
            },
        )
        stop = _stop(int(result.status), str(result.message), int(result.nit) >= max_iter)
    elif len(begin):
        stop = STOPS.index("iterations")
    return _Search(model.place(start, best_z), -best * model.rows, evaluations, stop, "")


def _stop(status: int, message: str, all_steps: bool) -> int:
    """Return an index into `STOPS` of SciPy's status and message."""
    if status == 0:
        return STOPS.index("gradient" if "GRADIENT" in message else "decrease")
    if status == 1:
        return STOPS.index("iterations" if all_steps else "evaluations")
    return STOPS.index("search")


def _plain(
    X: Tensor,
    y: Tensor,
    known_noise: Tensor,
    spec: Sequence[int],
    priors: Sequence[int],
    leaders: Sequence[int],
    boxes: Tensor,
    starts: Tensor,
    max_iter: int,
    max_evaluations: int,
    gradient_tol: float,
    decrease_tol: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return parameters, log posteriors, and evaluations with stops of all starts."""
    R, M, count = starts.shape
    begin = starts.cpu().numpy()
    found, values = starts.new_empty((R, M, count)), starts.new_empty((R, M))
    counts = starts.new_empty((R, M, 2), dtype=torch.int64)
    table = boxes.cpu().numpy()
    densities = [(k, *row[2:]) for k, row in zip(priors, table.tolist(), strict=True)]
    for m in range(M):
        rows, targets, known = (t[m : m + 1] if len(t) > 1 else t for t in (X, y, known_noise))
        model = _Regression((rows, targets, known), spec, densities, leaders, table)
        reasons = []
        for r in range(R):
            out = _search(model, begin[r, m], max_iter, max_evaluations, gradient_tol, decrease_tol)
            found[r, m], values[r, m] = torch.from_numpy(out.x), out.value
            counts[r, m] = torch.tensor((out.evaluations, out.stop))
            reasons.append(f"start {r}: {out.reason}")
        if bool(values[:, m].isnan().all()):
            raise DataError(f"gp_fit: every start of model {m} failed: {'; '.join(reasons)}")
    return found, values, counts


lib.impl("gp_fit", _plain, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::gp_fit", lib=lib)
def _(
    X: Tensor,
    y: Tensor,
    known_noise: Tensor,
    spec: Sequence[int],
    priors: Sequence[int],
    leaders: Sequence[int],
    boxes: Tensor,
    starts: Tensor,
    *_: object,
) -> tuple[Tensor, Tensor, Tensor]:
    del X, y, known_noise, spec, priors, leaders, boxes
    shape = starts.shape[:2]
    counts = starts.new_empty((*shape, 2), dtype=torch.int64)
    return starts.new_empty(starts.shape), starts.new_empty(shape), counts


def _refuse(*_: object) -> tuple[Tensor | None, ...]:
    raise RuntimeError(
        "gp_fit: got a derivative of an operator that has none; detach its arguments"
    )


torch.library.register_autograd("jobs_bench::gp_fit", _refuse, lib=lib)
