"""Parameters of Gaussian processes by maximum a posteriori, a whole fit in one call.

Positive parameters are searched in their logarithms, the mean in standard deviations of y; the
objective stays the density over the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops import _gp_fit_operator as _gp_fit_operator  # registers it
from jobs_bench.ops._gp_priors import KINDS, GpBox, GpPrior, GpPriors
from jobs_bench.ops._gp_reference import check_fidelity, check_finite
from jobs_bench.ops._gp_spec import GpSpec
from jobs_bench.ops._philox import philox, split

GP_FIT_STOPS = _gp_fit_operator.STOPS
"""How a search ends: ``gradient`` and ``decrease`` are the tolerances, ``iterations`` and
``evaluations`` the limits, ``search`` finds no decrease that rounding does not hide, ``failed`` has
nothing finite at its start; only this has no result."""

_CONVERGED = tuple(GP_FIT_STOPS.index(stop) for stop in ("gradient", "decrease", "search"))
_RESTARTS = np.uint64(3)  # last word of the counter; others belong to jobs_bench.ops._mix


class GpFit(NamedTuple):
    """What `gp_fit` returns; plain tensors. With M models, all have M in front.

    Attributes:
        theta: ``(P,)``.
        noise: ``()`` fitted variance, without what was known.
        mean: ``()``.
        objective: ``()`` log marginal likelihood plus log priors: a sum, where
            ``ExactMarginalLogLikelihood`` of GPyTorch divides by n.
        evaluations: ``()`` int64, of all starts together.
        converged: ``()`` bool: the winner's stop is ``gradient``, ``decrease`` or ``search``.
        start: ``()`` int64, which start won, the first among equals.
        objectives: ``(R,)`` of each start, NaN where it failed.
        stops: ``(R,)`` int64, how each start's search ended: an index into `GP_FIT_STOPS`.
    """

    theta: Tensor
    noise: Tensor
    mean: Tensor
    objective: Tensor
    evaluations: Tensor
    converged: Tensor
    start: Tensor
    objectives: Tensor
    stops: Tensor


def gp_fit(
    X: Tensor,
    y: Tensor,
    spec: GpSpec,
    priors: GpPriors,
    *,
    known_noise: Tensor | None = None,
    starts: Tensor | None = None,
    restarts: int = 0,
    seed: int = 0,
    max_iter: int = 200,
    max_evaluations: int = 1000,
    gradient_tol: float = 1e-5,
    decrease_tol: float = 1e-7,
) -> GpFit:
    """Return the parameters that maximise log marginal likelihood plus log priors.

    A pure function of its arguments at any number of threads, which share the searches. No
    gradient passes through it. A start where the likelihood fails is left out and shows in
    `GpFit.stops`; a likelihood that fails on the way turns the search back.

    Args:
        X: ``(n, d)``; with M models also ``(M, n, d)``.
        y: ``(n,)``; M models: ``(M, n)``.
        spec: Of the covariance.
        priors: One box for each parameter.
        known_noise: ``(n,)`` or ``(M, n)`` variances >= 0, to which the fitted noise is added.
        starts: ``(R, P + 2)`` theta, noise and mean to start from, moved into the boxes; with M
            models ``(R, M, P + 2)``; by default those of the boxes.
        restarts: Further starts, drawn from the priors; a parameter without one is drawn
            log-normally about its start where ``low > 0``, and else starts there.
        seed: Of the restarts, in ``[0, 2**63)``.
        max_iter: Steps of one search.
        max_evaluations: Likelihoods of one search.
        gradient_tol: A search ends where no entry of the projected gradient of the objective over n
            is larger, in the coordinates searched.
        decrease_tol: Or where two steps, and what a third promises, gain less of the objective
            over n.

    Raises:
        DataError: Arguments that do not fit together or are out of range.
        RuntimeError, DataError: Every start of a model fails; with the reasons.
    """
    rows, targets, known = _data(X, y, known_noise, spec)
    priors.check(spec)
    single = y.ndim == 1
    models = targets.shape[0]
    if not (restarts >= 0 and 0 <= seed < 2**63):
        raise DataError(f"got restarts {restarts}, seed {seed}; wanted at least 0, in [0, 2**63)")
    if not (max_iter >= 0 and max_evaluations >= 1 and gradient_tol >= 0 and decrease_tol >= 0):
        raise DataError(
            f"got max_iter {max_iter}, max_evaluations {max_evaluations}, gradient_tol "
            f"{gradient_tol}, decrease_tol {decrease_tol}; wanted at least 0, 1, 0 and 0"
        )
    begin = _starts(starts, priors, models, single)
    if restarts:
        begin = torch.cat([begin.cpu(), _draws(priors, restarts, models, seed)])
    found, objectives, counts = torch.ops.jobs_bench.gp_fit.default(
        rows,
        targets,
        known,
        spec.code,
        [KINDS.index(type(box.prior)) for box in priors.boxes],
        priors.leaders,
        torch.tensor([_row(box) for box in priors.boxes], dtype=torch.float64),
        begin.to(y.device),
        max_iter,
        max_evaluations,
        gradient_tol,
        decrease_tol,
    )
    won = objectives.nan_to_num(nan=-torch.inf).argmax(0)
    every = torch.arange(models, device=y.device)
    best, stops = found[won, every], counts[..., 1]
    out = GpFit(
        theta=best[:, :-2].contiguous(),
        noise=best[:, -2].contiguous(),
        mean=best[:, -1].contiguous(),
        objective=objectives[won, every],
        evaluations=counts[..., 0].sum(0),
        converged=(stops[won, every][:, None] == stops.new_tensor(_CONVERGED)).any(1),
        start=won,
        objectives=objectives.mT.contiguous(),
        stops=stops.mT.contiguous(),
    )
    return GpFit(*(t[0] for t in out)) if single else out


def _row(box: GpBox) -> tuple[float, float, float, float]:
    return box.low, box.high, *_numbers_of(box.prior)


def _numbers_of(prior: GpPrior) -> tuple[float, float]:
    if prior is None:
        return 0.0, 1.0
    a, b = vars(prior).values()
    return a, b


def _shaped(name: str, t: Tensor, *shapes: Sequence[int]) -> Tensor:
    """Return `t` detached if it is float64 and its shape is among `shapes`, else raise."""
    if t.dtype != torch.float64:
        raise DataError(f"got {name} of {t.dtype}; wanted torch.float64")
    for shape in shapes:
        if t.ndim == len(shape) and all(w in (-1, g) for g, w in zip(t.shape, shape, strict=True)):
            return t.detach()
    wanted = " or ".join(str(tuple(s)) for s in shapes)
    raise DataError(f"got {name} {tuple(t.shape)}; wanted {wanted}")


def _data(
    X: Tensor, y: Tensor, known: Tensor | None, spec: GpSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, targets and known variances with models in front, checked."""
    y = _shaped("y", y, (-1,), (-1, -1))
    M, n = (1, len(y)) if y.ndim == 1 else y.shape
    X = _shaped("X", X, (n, -1), *([(M, n, -1)] if y.ndim == 2 else []))
    if X.shape[-1] < spec.width:
        raise DataError(f"got X {tuple(X.shape)}; wanted at least {spec.width} columns")
    if known is None:
        known = y.new_empty((1, 0))
    else:
        known = _shaped("known_noise", known, (n,), *([(M, n)] if y.ndim == 2 else []))
        if known.numel() and float(known.min()) < 0:
            raise DataError(f"got known_noise {float(known.min())}; wanted at least 0")
    check_finite(X=X, y=y, known_noise=known)
    check_fidelity("X", X, spec)
    rows = X.unsqueeze(0) if X.ndim == 2 else X
    targets = y.unsqueeze(0) if y.ndim == 1 else y
    return rows, targets, known.unsqueeze(0) if known.ndim == 1 else known


def _starts(starts: Tensor | None, priors: GpPriors, models: int, single: bool) -> Tensor:
    """Return ``(R, M, P + 2)`` starts, without the drawn ones."""
    count = len(priors.boxes)
    if starts is None:
        plain = torch.tensor([box.start for box in priors.boxes], dtype=torch.float64)
        return plain.expand(1, models, count).contiguous()
    starts = _shaped("starts", starts, (-1, count) if single else (-1, models, count))
    check_finite(starts=starts)
    if not len(starts):
        raise DataError("got no starts; wanted at least one")
    return starts.unsqueeze(1) if single else starts


def _draws(priors: GpPriors, restarts: int, models: int, seed: int) -> Tensor:
    """Return ``(restarts, M, P + 2)`` draws, each a function of its place and the seed."""
    r, m = (np.arange(size, dtype=np.uint64) for size in (restarts, models))
    out = np.empty((restarts, models, len(priors.boxes)))
    for k, box in enumerate(priors.boxes):
        counter = (np.uint64(k), m[None, :], r[:, None], _RESTARTS)
        words = philox(counter, split(np.uint64(seed)))  # type: ignore[arg-type]  # scalars do
        high, low = words[0] >> np.uint64(5), words[1] >> np.uint64(6)
        u = (high.astype(float) * 2.0**26 + low.astype(float) + 0.5) / 2.0**53
        out[..., k] = box.quantile(u)
    return torch.from_numpy(out)
