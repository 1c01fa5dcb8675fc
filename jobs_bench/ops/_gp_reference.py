"""Gaussian processes in plain PyTorch: what the operators of `jobs_bench.ops._gp` compute.

Everything is batched over M models and float64. `theta`, ``(M, P)``, holds the parameters of
`GpSpec.parameters`; `spec` is a `GpSpec.code`. X has leading dimension M, or 1 where the models
share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._gp_spec import POSITIVE, GpFidelity, GpSpec, GpTerm

JITTERS = (0.0, 1e-10, 1e-8, 1e-6)
"""What is added to the diagonal, over the sum of outputscales, until a factorisation succeeds."""

FAR_AWAY = 1e12
"""Squared distances are cut here, where every covariance is 0."""

ROOT_FLOOR = 1e-8
"""Root columns are cut here from below, before the root."""

_ROOT_OF = {"matern12": 1.0, "matern32": math.sqrt(3.0), "matern52": math.sqrt(5.0)}


def check_finite(**tensors: Tensor) -> None:
    """Raise `DataError` where a number is not finite."""
    for name, t in tensors.items():
        # a sum is finite only if every term is; that it overflowed is then ruled out
        if t.numel() and not math.isfinite(float(t.detach().sum())):
            bad = (~torch.isfinite(t)).nonzero()
            if bad.numel():
                at = tuple(bad[0].tolist())
                raise DataError(f"got {name}{list(at)} = {float(t[at])}; wanted finite numbers")


def check_theta(theta: Tensor, spec: GpSpec) -> None:
    """Raise `DataError` where a parameter, ``(M, P)``, is not finite or out of its range."""
    for m, row in enumerate(theta.tolist()):
        for k, (x, what) in enumerate(zip(row, spec.parameters, strict=True)):
            above = what.role in POSITIVE
            if not math.isfinite(x) or not (x > 0 if above else x >= 0):
                wanted = "above 0" if above else "at least 0"
                raise DataError(
                    f"got theta[{m}][{k}] = {x}, a {what.role}; wanted finite and {wanted}"
                )


def check_fidelity(name: str, X: Tensor, spec: GpSpec) -> None:
    """Raise `DataError` where a fidelity, of rows ``(..., n, d)``, is out of its range."""
    if not X.numel():
        return
    for factor in dict.fromkeys(f for term in spec.terms for f in term.fidelity):
        low, high = (float(x) for x in X[..., factor.column].detach().aminmax())
        most = math.inf if factor.form == "decay" else 1.0
        if low < 0 or high > most:
            raise DataError(
                f"got {name} with {low if low < 0 else high} in fidelity column {factor.column}, "
                f"{factor.form}; wanted 0 to {most}"
            )


def check_noise(noise: Tensor) -> None:
    """Raise `DataError` where a noise variance is not finite or not above 0."""
    if noise.numel():
        low, high = (float(x) for x in noise.detach().aminmax())
        if not (low > 0 and high < math.inf):
            bad = high if low > 0 else low
            raise DataError(f"got noise {bad}; wanted finite and above 0")


def _rooted(X: Tensor, spec: GpSpec) -> tuple[Tensor, Tensor]:
    """Return rows with the roots taken, and the slope of every entry."""
    out, slope = X.clone(), torch.ones_like(X)
    for k in spec.roots:
        out[..., k] = X[..., k].clamp_min(ROOT_FLOOR).sqrt()
        slope[..., k] = torch.where(X[..., k] > ROOT_FLOOR, 0.5 / out[..., k], 0.0)
    return out, slope


def _radial(term: GpTerm, A: Tensor, B: Tensor, ls: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return scaled differences of each smooth column, their squared sum, and its reach."""
    r2 = ls.new_zeros((ls.shape[0], A.shape[1], B.shape[1]))
    deltas = []
    for k, column in enumerate(term.smooth):
        a, b = A[..., column] / ls[:, k, None], B[..., column] / ls[:, k, None]
        deltas.append(a.unsqueeze(-1) - b.unsqueeze(-2))
        r2 = r2 + deltas[-1] ** 2
    r2 = r2.clamp_max(FAR_AWAY)
    if term.kind == "rbf":
        return deltas, r2, 0.5 * r2
    apart = r2 > 0  # the root's slope is infinite at 0, where that of the product is taken for 0
    return deltas, r2, _ROOT_OF[term.kind] * torch.where(apart, r2, 1.0).sqrt() * apart


def _shape(kind: str, r2: Tensor, reach: Tensor) -> Tensor:
    if kind == "matern32":
        return 1.0 + reach
    if kind == "matern52":
        return 1.0 + reach + (5.0 / 3.0) * r2
    return torch.ones_like(r2)


def _slope(kind: str, r2: Tensor, reach: Tensor) -> Tensor:
    """Return the covariance's slope ``-d/d r2`` over ``exp(-(a + h))``; Matern-1/2: 0 at 0."""
    if kind == "matern12":
        return torch.where(r2 > 0, 0.5 / torch.where(r2 > 0, reach, 1.0), 0.0)
    if kind == "matern32":
        return torch.full_like(r2, 1.5)
    if kind == "matern52":
        return (5.0 / 6.0) * (1.0 + reach)
    return torch.full_like(r2, 0.5)


def _differs(term: GpTerm, A: Tensor, B: Tensor) -> list[Tensor]:
    """Return of each named column where rows differ."""
    return [
        (A[..., column].unsqueeze(-1) != B[..., column].unsqueeze(-2)).to(A.dtype)
        for column in term.names
    ]


def _factor(
    factor: GpFidelity, t: Tensor, s: Tensor, theta: Tensor
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return a fidelity factor, its slopes in its parameters ``(M, ...)``, in `t`, and in `s`."""
    p = [theta[:, q].reshape(-1, *[1] * (t.ndim - 1)) for q in range(theta.shape[1])]
    if factor.form == "decay":
        power, length, offset = p
        base = 1.0 + (t + s) / length
        q = base**-power
        by_t = -power * q / (base * length)
        by_length = power * q / base * (t + s) / length**2
        return offset + q, [-q * base.log(), by_length, torch.ones_like(q)], by_t, by_t
    power = p[-1]
    cross, base = (1.0 - t) * (1.0 - s), 1.0 + t * s
    q = base**power
    by_t = q * (cross * power * s / base - (1.0 - s))
    by_s = q * (cross * power * t / base - (1.0 - t))
    by_power = cross * q * base.log()
    if factor.form == "truncated":
        return cross * q, [by_power], by_t, by_s
    bias = p[0]
    return 1.0 + bias * cross * q, [cross * q, bias * by_power], bias * by_t, bias * by_s


def _split(theta: Tensor, spec: GpSpec) -> list[tuple[Tensor, Tensor, list[Tensor], Tensor, int]]:
    """Return of each term its lengthscales, weights, factors' parameters, scale, and beginning."""
    out, at = [], 0
    for q, term in enumerate(spec.terms):
        begin, fidelity = at, []
        ls, w = theta[:, at : at + len(term.smooth)], theta[:, at + len(term.smooth) :]
        w = w[:, : len(term.names)]
        at += len(term.smooth) + len(term.names)
        for factor in term.fidelity:
            size = len(GpSpec.product("rbf", fidelity=(factor,)).parameters) - 1
            fidelity.append(theta[:, at : at + size])
            at += size
        assert spec.parameters[at] == ("outputscale", q, -1)
        out.append((ls, w, fidelity, theta[:, at], begin))
        at += 1
    return out


def covariance(X1: Tensor, X2: Tensor, theta: Tensor, spec: Sequence[int]) -> Tensor:
    """Return ``(M, n, m)`` covariances of ``(M, n, d)`` and ``(M, m, d)`` rows."""
    what = GpSpec.decode(spec)
    A, B = _rooted(X1, what)[0], _rooted(X2, what)[0]
    out = theta.new_zeros((theta.shape[0], X1.shape[1], X2.shape[1]))
    for term, (ls, w, fidelity, scale, _) in zip(what.terms, _split(theta, what), strict=True):
        _, r2, reach = _radial(term, A, B, ls)
        far = reach
        for k, differ in enumerate(_differs(term, A, B)):
            far = far + w[:, k, None, None] * differ
        value = _shape(term.kind, r2, reach) * torch.exp(-far)
        for factor, p in zip(term.fidelity, fidelity, strict=True):
            t, s = A[..., factor.column].unsqueeze(-1), B[..., factor.column].unsqueeze(-2)
            value = value * _factor(factor, t, s, p)[0]
        out = out + scale[:, None, None] * value
    return out


def variance(X: Tensor, theta: Tensor, spec: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return prior variances ``(M, n)`` of rows and their gradients ``(M, n, d)`` to the rows."""
    what = GpSpec.decode(spec)
    A, slope = _rooted(X, what)
    M, n, d = theta.shape[0], X.shape[1], X.shape[2]
    out, by_X = theta.new_zeros((M, n)), theta.new_zeros((M, n, d))
    for term, (_, _, fidelity, scale, _) in zip(what.terms, _split(theta, what), strict=True):
        parts = [
            _factor(factor, A[..., factor.column], A[..., factor.column], p)
            for factor, p in zip(term.fidelity, fidelity, strict=True)
        ]
        value = scale[:, None].expand(M, n)
        for q, (factor, part) in enumerate(zip(term.fidelity, parts, strict=True)):
            others = math.prod((p[0] for r, p in enumerate(parts) if r != q), start=value)
            by_X[..., factor.column] += others * (part[2] + part[3])
        out = out + math.prod((p[0] for p in parts), start=value)
    return out, by_X * slope


def covariance_backward(
    grad: Tensor, X1: Tensor, X2: Tensor, theta: Tensor, spec: Sequence[int], x_grad: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of ``sum(grad * covariance)`` to X1, X2 (zeros without `x_grad`), theta."""
    what = GpSpec.decode(spec)
    (A, A_slope), (B, B_slope) = _rooted(X1, what), _rooted(X2, what)
    M = theta.shape[0]
    gA, gB = theta.new_zeros((M, *X1.shape[1:])), theta.new_zeros((M, *X2.shape[1:]))
    gtheta = torch.zeros_like(theta, memory_format=torch.contiguous_format)
    for term, (ls, w, fidelity, scale, at) in zip(what.terms, _split(theta, what), strict=True):
        deltas, r2, reach = _radial(term, A, B, ls)
        differs = _differs(term, A, B)
        far = reach
        for k, differ in enumerate(differs):
            far = far + w[:, k, None, None] * differ
        parts = []
        for factor, p in zip(term.fidelity, fidelity, strict=True):
            t, s = A[..., factor.column].unsqueeze(-1), B[..., factor.column].unsqueeze(-2)
            parts.append(_factor(factor, t, s, p))
        plain = grad * torch.exp(-far)
        base = plain * _shape(term.kind, r2, reach)
        product = math.prod((part[0] for part in parts), start=torch.ones_like(grad))
        pull = scale[:, None, None] * plain * _slope(term.kind, r2, reach) * product
        for k, (column, delta) in enumerate(zip(term.smooth, deltas, strict=True)):
            force = pull * delta
            gtheta[:, at + k] = 2.0 * (force * delta).sum((1, 2)) / ls[:, k]
            gA[..., column] += -2.0 * force.sum(2) / ls[:, k, None]
            gB[..., column] += 2.0 * force.sum(1) / ls[:, k, None]
        at += len(deltas)
        for differ in differs:
            gtheta[:, at] = -scale * (base * product * differ).sum((1, 2))
            at += 1
        for q, (factor, part) in enumerate(zip(term.fidelity, parts, strict=True)):
            others = scale[:, None, None] * base
            others = math.prod((p[0] for r, p in enumerate(parts) if r != q), start=others)
            for slope in part[1]:
                gtheta[:, at] = (others * slope).sum((1, 2))
                at += 1
            gA[..., factor.column] += (others * part[2]).sum(2)
            gB[..., factor.column] += (others * part[3]).sum(1)
        gtheta[:, at] = (base * product).sum((1, 2))
    if not x_grad:
        return torch.zeros_like(gA), torch.zeros_like(gB), gtheta
    return gA * A_slope, gB * B_slope, gtheta


def _scales(spec: Sequence[int]) -> list[int]:
    """Return where in theta the outputscales are."""
    parameters = GpSpec.decode(spec).parameters
    return [k for k, what in enumerate(parameters) if what.role == "outputscale"]


def factorise(K: Tensor, noise: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors ``(M, n, n)`` of ``K + noise + jitter``, and jitters over scales.

    A pivot counts as positive above ``n eps`` times its diagonal entry.

    Raises:
        DataError: No factor with the largest jitter.
    """
    n = K.shape[-1]
    factors, steps = torch.zeros_like(K), torch.zeros_like(scale)
    for m in range(K.shape[0]):
        for step in JITTERS:
            A = K[m] + torch.diag(noise[m].expand(n) + step * scale[m])
            factors[m], info = torch.linalg.cholesky_ex(A)
            pivots = factors[m].diagonal() ** 2
            floor = n * torch.finfo(K.dtype).eps * A.diagonal()
            if int(info) == 0 and bool((pivots > floor).all()):
                steps[m] = step
                break
        else:
            raise DataError(
                f"covariance of {n} points not positive definite with jitter "
                f"{JITTERS[-1] * float(scale[m])}; noise is {float(noise[m].min())}"
            )
    return factors, steps


def likelihood(
    X: Tensor,
    y: Tensor,
    theta: Tensor,
    noise: Tensor,
    mean: Tensor,
    spec: Sequence[int],
    x_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return value, jitter, and gradients to X, y, theta, noise and mean; see `gp_mll`."""
    M, n = theta.shape[0], X.shape[1]
    scales = _scales(spec)
    scale = theta[:, scales].sum(1)
    L, steps = factorise(covariance(X, X, theta, spec), noise, scale)
    r = (y - mean[:, None]).unsqueeze(-1)
    alpha = torch.cholesky_solve(r, L).squeeze(-1) if n else theta.new_zeros((M, 0))
    inverse = torch.cholesky_inverse(L) if n else torch.zeros_like(L)
    log_det = 2.0 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    quad = (r.squeeze(-1) * alpha).sum(-1)
    value = -0.5 * (quad + log_det + n * math.log(2.0 * math.pi))
    G = 0.5 * (alpha.unsqueeze(-1) * alpha.unsqueeze(-2) - inverse)
    gX1, gX2, gtheta = covariance_backward(G, X, X, theta, spec, x_grad)
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    gtheta[:, scales] += (steps * diagonal.sum(-1))[:, None]  # jitter follows the outputscales
    gnoise = diagonal.sum(-1, keepdim=True) if noise.shape[1] == 1 else diagonal.clone()
    check_finite(value=value, gradient=gtheta)
    return value, steps * scale, gX1 + gX2, -alpha, gtheta, gnoise, alpha.sum(-1)


def condition(
    X: Tensor, y: Tensor, theta: Tensor, noise: Tensor, mean: Tensor, spec: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return inverse Cholesky factors, weights of the mean, jitters; see `gp_condition`."""
    scale = theta[:, _scales(spec)].sum(1)
    L, steps = factorise(covariance(X, X, theta, spec), noise, scale)
    eye = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device).expand_as(L)
    inverse = torch.linalg.solve_triangular(L, eye, upper=False).contiguous()
    r = (y - mean[:, None]).unsqueeze(-1)
    alpha = (inverse.mT @ (inverse @ r)).squeeze(-1)
    return inverse, alpha, steps * scale


def posterior(
    Xq: Tensor,
    X: Tensor,
    theta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    alpha: Tensor,
    spec: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, variance and their gradients to Xq; see `gp_posterior`."""
    K = covariance(Xq, X, theta, spec)
    mu = mean[:, None] + (K @ alpha.unsqueeze(-1)).squeeze(-1)
    V = K @ inverse.mT
    prior, prior_x = variance(Xq, theta, spec)
    raw = prior - (V**2).sum(-1)
    seen = (raw > 0).unsqueeze(-1)
    weights = alpha.unsqueeze(-2).expand_as(K)
    mean_x = covariance_backward(weights, Xq, X, theta, spec, True)[0]
    variance_x = covariance_backward(-2.0 * (V @ inverse), Xq, X, theta, spec, True)[0]
    return mu, raw.clamp_min(0.0), mean_x, (variance_x + prior_x) * seen
