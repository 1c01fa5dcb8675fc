"""Acquisition functions and their maximisation in plain PyTorch, NumPy and SciPy.

What `acquisition` computes here is the definition of right. `search` is another algorithm than the
native one (SciPy's SLSQP in place of a projected quasi-Newton method) for the same problem: rows of
the design that no continuous step and no change of one level improves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import _gp_reference as gp
from jobs_bench.ops._simplex import reference_project_simplex

Array = NDArray[np.float64]

ACQUISITIONS = ("log_ei", "ucb", "mean")
LEAST_VARIANCE = 1e-12
"""Variances are raised to this, as BoTorch does; their slope is 0 below."""

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
_ORDERS = 40  # repeated integrals of erfc in the recurrence: enough from 5 deviations on

APART = 0.15
TRIED = 32
_LEVEL_GAIN, _TURN_GAIN = 1e-9, 1e-7


def log_improvement(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``log h(u)``, ``Phi(u) / h(u)`` and ``phi(u) / h(u)``, ``h(u) = phi(u) + u Phi(u)``.

    ``log h`` is equation 9 of Ament et al., Unexpected improvements to expected improvement (2023);
    below -5 with the ratio ``h / phi`` from Gautschi's backward recurrence of the repeated
    integrals of erfc, in which nothing cancels.
    """
    above = u.clamp_min(-1.0)
    density = torch.exp(-0.5 * above**2 - _LOG_ROOT_2PI)
    below = torch.special.ndtr(above)
    h = density + above * below
    near = (-u).clamp(1.0, 5.0)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(near / math.sqrt(2.0))
    near_over = 1.0 - near * mills
    far = (-u).clamp_min(5.0)
    ratio = torch.zeros_like(far)
    for k in range(_ORDERS, 1, -1):
        ratio = 1.0 / (far + k * ratio)
    tail = u <= -5.0
    over = torch.where(tail, ratio / (far + ratio), near_over)
    slope = torch.where(tail, 1.0 / ratio, mills / near_over)
    low = -0.5 * u**2 - _LOG_ROOT_2PI + over.log()
    centre = u > -1.0
    return (
        torch.where(centre, h.log(), low),
        torch.where(centre, below / h, slope),
        torch.where(centre, density / h, 1.0 / over),
    )


def acquire(
    kind: int, best: float, beta: float, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and their derivatives in mean and variance, all of one shape."""
    ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)
    if ACQUISITIONS[kind] == "mean":
        return mean, ones, zeros
    sd = variance.clamp_min(LEAST_VARIANCE).sqrt()
    in_sd = torch.where(variance > LEAST_VARIANCE, 0.5 / sd, 0.0)
    if ACQUISITIONS[kind] == "ucb":
        return mean + math.sqrt(beta) * sd, ones, math.sqrt(beta) * in_sd
    value, mean_slope, sd_slope = log_improvement((mean - best) / sd)
    return value + sd.log(), mean_slope / sd, sd_slope / sd * in_sd


def acquisition(
    Xq: Tensor,
    X: Tensor,
    theta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    alpha: Tensor,
    weights: Tensor,
    spec: Sequence[int],
    kind: int,
    best: float,
    beta: float,
    x_grad: bool,
) -> tuple[Tensor, Tensor]:
    """Return values ``(q,)`` at `Xq`, ``(q, d)``, and gradients ``(q, d)``, ``(0, d)`` unasked."""
    rows = Xq.unsqueeze(0).expand(theta.shape[0], -1, -1)
    each = gp.posterior(rows, X, theta, mean, inverse, alpha, spec)
    mu, variance = weights @ each[0], weights**2 @ each[1]
    value, in_mean, in_variance = acquire(kind, best, beta, mu, variance)
    if not x_grad:
        return value, Xq.new_empty((0, Xq.shape[1]))
    mu_x = torch.einsum("m,mqd->qd", weights, each[2])
    variance_x = torch.einsum("m,mqd->qd", weights**2, each[3])
    return value, in_mean[:, None] * mu_x + in_variance[:, None] * variance_x


class _Space:
    """A design, from what `Design.code` gives."""

    def __init__(self, bounds: Tensor, levels: Tensor, code: Sequence[int]) -> None:
        self.low, self.high, self.rest = bounds.numpy()
        d = len(self.low)
        rest = iter(code)

        def several() -> list[int]:
            return [next(rest) for _ in range(next(rest))]

        shape = [(next(rest), next(rest)) for _ in range(d)]
        ends = np.cumsum([count for count, _ in shape])
        self.levels = np.split(levels.numpy(), ends)[:d]
        self.ordered = [bool(ordered) for _, ordered in shape]
        self.mixtures = [(next(rest), next(rest), next(rest)) for _ in range(next(rest))]
        self.conditions = []
        for _ in range(next(rest)):
            column = next(rest)
            self.conditions.append((column, self.levels[column][several()], several()))
        self.quotas = [(next(rest), several()) for _ in range(next(rest))]

    def active(self, row: Array) -> NDArray[np.bool_]:
        found = np.ones(len(row), dtype=bool)
        for column, levels, columns in self.conditions:
            if not (found[column] and np.isclose(levels, row[column], atol=1e-6).any()):
                found[columns] = False
        return found

    def enough(self, row: Array) -> bool:
        return all((row[columns] > 0.5).sum() >= least for least, columns in self.quotas)

    def check(self, rows: Array) -> None:
        for r, row in enumerate(rows):
            bad = ~((row >= self.low - 1e-6) & (row <= self.high + 1e-6))
            for i, levels in enumerate(self.levels):
                bad[i] |= len(levels) > 0 and not np.isclose(levels, row[i], atol=1e-6).any()
            if bad.any():
                i = int(np.argmax(bad))
                raise DataError(
                    f"got starts[{r}][{i}] = {row[i]}; wanted one of [{self.low[i]}, "
                    f"{self.high[i]}]" + (" and of its levels" if len(self.levels[i]) else "")
                )
            for start, stop, _ in self.mixtures:
                if abs(row[start:stop].sum() - 1) > 1e-6:
                    raise DataError(
                        f"got weights that sum to {row[start:stop].sum()} in "
                        f"starts[{r}][{start}:{stop}]; wanted 1"
                    )
            if not self.enough(row):
                raise DataError(f"got starts[{r}] with too few flags; wanted {self.quotas}")

    def neighbours(self, row: Array) -> Array:
        near, searched = [], self.active(row)
        for i, levels in enumerate(self.levels):
            if not searched[i] or len(levels) < 2:
                continue
            at = int(np.argmin(np.abs(levels - row[i])))
            to = set(range(len(levels))) - {at}
            if self.ordered[i] and len(levels) > TRIED:
                jumps = [2**k for k in range(len(levels).bit_length())]
                to &= {0, len(levels) - 1, *(at + j for j in jumps), *(at - j for j in jumps)}
            for j in sorted(to):
                changed = row.copy()
                changed[i] = levels[j]
                near.append(changed)
        for least, columns in self.quotas:
            if (row[columns] > 0.5).sum() > least:
                continue
            for a in columns:
                for b in columns:
                    if row[a] > 0.5 > row[b] and searched[a] and searched[b]:
                        changed = row.copy()
                        changed[a], changed[b] = 0.0, 1.0
                        near.append(changed)
        near = [r for r in near if self.enough(r)]
        return np.stack([np.where(self.active(r), r, self.rest) for r in near]) if near else row[:0]


def _choose(space: _Space, rows: Array, values: Array, restarts: int) -> list[int]:
    taken: list[int] = []
    passed: list[int] = []
    spread = np.where(space.high > space.low, space.high - space.low, np.inf)
    named = np.array([len(levels) > 0 for levels in space.levels])
    for i in np.argsort(-values, kind="stable").tolist():
        if len(taken) == restarts:
            break
        gaps = (rows[taken] - rows[i]) / spread
        close = (gaps**2).mean(axis=1) < APART**2
        same = (rows[taken][:, named] == rows[i][named]).all(axis=1)
        (passed if (close & same).any() else taken).append(i)
    return taken + passed[: restarts - len(taken)]


Score = Callable[[Array, bool], tuple[Array, Array]]


def _ascend(space: _Space, score: Score, row: Array, value: float, max_iter: int) -> Array:
    free = space.active(row) & (space.high > space.low)
    free &= [len(levels) == 0 for levels in space.levels]
    where = np.flatnonzero(free)
    if not len(where):
        return row

    def whole(x: Array) -> Array:
        out = row.copy()
        out[where] = np.clip(x, space.low[where], space.high[where])
        return out

    def negative(x: Array) -> tuple[float, Array]:
        got, gradient = score(whole(x)[None], True)
        return -float(got[0]), -gradient[0, where]

    sums = []
    for start, stop, _ in space.mixtures:
        inside = ((where >= start) & (where < stop)).astype(float)
        if inside.any():
            total = 1 - row[start:stop].sum() + row[where] @ inside
            sums.append(scipy.optimize.LinearConstraint(inside, total, total))
    found = scipy.optimize.minimize(
        negative,
        row[where],
        jac=True,
        method="SLSQP",
        bounds=list(zip(space.low[where], space.high[where], strict=True)),
        constraints=sums,
        options={"maxiter": max_iter, "ftol": 1e-10},
    )
    if not np.isfinite(found.x).all():
        return row
    moved = whole(found.x)
    for start, stop, _ in space.mixtures:
        if free[start:stop].any():
            near = [torch.from_numpy(x[start:stop]) for x in (moved, space.low, space.high)]
            moved[start:stop] = reference_project_simplex(near[0][None], *near[1:])[0].numpy()
    return moved if float(score(moved[None], False)[0][0]) > value else row


def search(
    starts: Tensor,
    X: Tensor,
    theta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    alpha: Tensor,
    weights: Tensor,
    spec: Sequence[int],
    kind: int,
    best: float,
    beta: float,
    bounds: Tensor,
    levels: Tensor,
    design: Sequence[int],
    restarts: int,
    max_iter: int,
    max_turns: int,
) -> tuple[Tensor, Tensor]:
    """Return improved rows, best first, and their values; see `optimise_acquisition`."""
    space = _Space(bounds, levels, design)
    given = starts.cpu().numpy()
    space.check(given)

    def score(rows: Array, x_grad: bool) -> tuple[Array, Array]:
        Xq = torch.from_numpy(np.ascontiguousarray(rows)).to(X.device)
        state = (X, theta, mean, inverse, alpha, weights, spec)
        value, gradient = acquisition(Xq, *state, kind, best, beta, x_grad)
        lowest = value.nan_to_num(-math.inf, math.inf, -math.inf)
        return lowest.cpu().numpy(), gradient.cpu().numpy()

    raw = np.stack([np.where(space.active(row), row, space.rest) for row in given])
    first = score(raw, False)[0]
    chosen = _choose(space, raw, first, restarts)
    rows, values = raw[chosen].copy(), first[chosen].copy()
    for r in range(len(rows)):
        for _ in range(max_turns):
            before = values[r]
            rows[r] = _ascend(space, score, rows[r], float(values[r]), max_iter)
            values[r] = score(rows[r : r + 1], False)[0][0]
            while len(near := space.neighbours(rows[r])):
                around = score(near, False)[0]
                k = int(np.argmax(around))
                if not around[k] > values[r] + _LEVEL_GAIN * max(1.0, abs(values[r])):
                    break
                rows[r], values[r] = near[k], around[k]
            if not values[r] > before + _TURN_GAIN * max(1.0, abs(before)):
                break
    order = np.argsort(-values, kind="stable")
    best_rows, best_values = torch.from_numpy(rows[order]), torch.from_numpy(values[order])
    return best_rows.to(starts.device), best_values.to(starts.device)
