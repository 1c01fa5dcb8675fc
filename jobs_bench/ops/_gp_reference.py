"""Gaussian processes in plain PyTorch: what the operators of `jobs_bench.ops._gp` compute.

Everything is batched over M models and float64. `theta`, ``(M, S + C + 1)``, holds S lengthscales,
C Hamming weights and the outputscale; `smooth` and `names` are the S and C columns they belong to.
X has leading dimension M, or 1 where the models share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jobs_bench.errors import DataError

KINDS = ("matern12", "matern32", "matern52", "rbf")
JITTERS = (0.0, 1e-10, 1e-8, 1e-6)
"""What is added to the diagonal, over the outputscale, until the factorisation succeeds."""

FAR_AWAY = 1e12
"""Squared distances are cut here, where every covariance is 0."""

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


def check_theta(theta: Tensor, smooth: Sequence[int]) -> None:
    """Raise `DataError` where a parameter, ``(M, P)``, is not finite or out of its range."""
    for m, row in enumerate(theta.tolist()):
        for k, x in enumerate(row):
            weight = len(smooth) <= k < len(row) - 1
            if not math.isfinite(x) or not (x >= 0 if weight else x > 0):
                wanted = "at least 0" if weight else "above 0"
                raise DataError(f"got theta[{m}][{k}] = {x}; wanted finite and {wanted}")


def check_noise(noise: Tensor) -> None:
    """Raise `DataError` where a noise variance is not finite or not above 0."""
    if noise.numel():
        low, high = (float(x) for x in noise.detach().aminmax())
        if not (low > 0 and high < math.inf):
            bad = high if low > 0 else low
            raise DataError(f"got noise {bad}; wanted finite and above 0")


def _parts(
    X1: Tensor, X2: Tensor, theta: Tensor, kind: int, smooth: Sequence[int], names: Sequence[int]
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """Return scaled differences and mismatches of each column, r2, a, and exp(-(a + h))."""
    ls, w = theta[:, : len(smooth)], theta[:, len(smooth) : -1]
    shape = (theta.shape[0], X1.shape[1], X2.shape[1])
    r2 = theta.new_zeros(shape)
    far = theta.new_zeros(shape)
    deltas, differs = [], []
    for k, column in enumerate(smooth):
        a = X1[..., column] / ls[:, k, None]
        b = X2[..., column] / ls[:, k, None]
        deltas.append(a.unsqueeze(-1) - b.unsqueeze(-2))
        r2 = r2 + deltas[-1] ** 2
    for k, column in enumerate(names):
        differ = X1[..., column].unsqueeze(-1) != X2[..., column].unsqueeze(-2)
        differs.append(differ.to(theta.dtype).expand(shape))
        far = far + w[:, k, None, None] * differs[-1]
    r2 = r2.clamp_max(FAR_AWAY)
    if KINDS[kind] == "rbf":
        reach = 0.5 * r2
    else:  # the root's slope is infinite at 0, where that of the product is taken for 0
        apart = r2 > 0
        reach = _ROOT_OF[KINDS[kind]] * torch.where(apart, r2, 1.0).sqrt() * apart
    return deltas, differs, r2, reach, torch.exp(-(reach + far))


def _shape(kind: int, r2: Tensor, reach: Tensor) -> Tensor:
    if KINDS[kind] == "matern32":
        return 1.0 + reach
    if KINDS[kind] == "matern52":
        return 1.0 + reach + (5.0 / 3.0) * r2
    return torch.ones_like(r2)


def _slope(kind: int, r2: Tensor, reach: Tensor) -> Tensor:
    """Return the covariance's slope ``-d/d r2`` over ``exp(-(a + h))``; Matern-1/2: 0 at 0."""
    if KINDS[kind] == "matern12":
        return torch.where(r2 > 0, 0.5 / torch.where(r2 > 0, reach, 1.0), 0.0)
    if KINDS[kind] == "matern32":
        return torch.full_like(r2, 1.5)
    if KINDS[kind] == "matern52":
        return (5.0 / 6.0) * (1.0 + reach)
    return torch.full_like(r2, 0.5)


def covariance(
    X1: Tensor, X2: Tensor, theta: Tensor, kind: int, smooth: Sequence[int], names: Sequence[int]
) -> Tensor:
    """Return ``(M, n, m)`` covariances of ``(M, n, d)`` and ``(M, m, d)`` rows."""
    _, _, r2, reach, decay = _parts(X1, X2, theta, kind, smooth, names)
    return theta[:, -1, None, None] * (_shape(kind, r2, reach) * decay)


def covariance_backward(
    grad: Tensor,
    X1: Tensor,
    X2: Tensor,
    theta: Tensor,
    kind: int,
    smooth: Sequence[int],
    names: Sequence[int],
    x_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients of ``sum(grad * covariance)`` to X1, X2 (zeros without `x_grad`), theta."""
    deltas, differs, r2, reach, decay = _parts(X1, X2, theta, kind, smooth, names)
    scale = theta[:, -1]
    w = grad * scale[:, None, None] * _slope(kind, r2, reach) * decay
    u = grad * _shape(kind, r2, reach) * decay
    M = theta.shape[0]
    gX1 = theta.new_zeros((M, *X1.shape[1:]))
    gX2 = theta.new_zeros((M, *X2.shape[1:]))
    gtheta = torch.zeros_like(theta, memory_format=torch.contiguous_format)
    for k, (column, delta) in enumerate(zip(smooth, deltas, strict=True)):
        pull = w * delta
        gtheta[:, k] = 2.0 * (pull * delta).sum((1, 2)) / theta[:, k]
        if x_grad:
            gX1[..., column] = -2.0 * pull.sum(2) / theta[:, k, None]
            gX2[..., column] = 2.0 * pull.sum(1) / theta[:, k, None]
    for k, differ in enumerate(differs):
        gtheta[:, len(smooth) + k] = -scale * (u * differ).sum((1, 2))
    gtheta[:, -1] = u.sum((1, 2))
    return gX1, gX2, gtheta


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
    kind: int,
    smooth: Sequence[int],
    names: Sequence[int],
    x_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return value, jitter, and gradients to X, y, theta, noise and mean; see `gp_mll`."""
    M, n = theta.shape[0], X.shape[1]
    L, steps = factorise(covariance(X, X, theta, kind, smooth, names), noise, theta[:, -1])
    r = (y - mean[:, None]).unsqueeze(-1)
    alpha = torch.cholesky_solve(r, L).squeeze(-1) if n else theta.new_zeros((M, 0))
    inverse = torch.cholesky_inverse(L) if n else torch.zeros_like(L)
    log_det = 2.0 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    quad = (r.squeeze(-1) * alpha).sum(-1)
    value = -0.5 * (quad + log_det + n * math.log(2.0 * math.pi))
    G = 0.5 * (alpha.unsqueeze(-1) * alpha.unsqueeze(-2) - inverse)
    gX1, gX2, gtheta = covariance_backward(G, X, X, theta, kind, smooth, names, x_grad)
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    gtheta[:, -1] += steps * diagonal.sum(-1)  # jitter is proportional to the outputscale
    gnoise = diagonal.sum(-1, keepdim=True) if noise.shape[1] == 1 else diagonal.clone()
    check_finite(value=value, gradient=gtheta)
    return value, steps * theta[:, -1], gX1 + gX2, -alpha, gtheta, gnoise, alpha.sum(-1)


def condition(
    X: Tensor,
    y: Tensor,
    theta: Tensor,
    noise: Tensor,
    mean: Tensor,
    kind: int,
    smooth: Sequence[int],
    names: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return inverse Cholesky factors, weights of the mean, jitters; see `gp_condition`."""
    L, steps = factorise(covariance(X, X, theta, kind, smooth, names), noise, theta[:, -1])
    eye = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device).expand_as(L)
    inverse = torch.linalg.solve_triangular(L, eye, upper=False).contiguous()
    r = (y - mean[:, None]).unsqueeze(-1)
    alpha = (inverse.mT @ (inverse @ r)).squeeze(-1)
    return inverse, alpha, steps * theta[:, -1]


def posterior(
    Xq: Tensor,
    X: Tensor,
    theta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    alpha: Tensor,
    kind: int,
    smooth: Sequence[int],
    names: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, variance and their gradients to Xq; see `gp_posterior`."""
    K = covariance(Xq, X, theta, kind, smooth, names)
    mu = mean[:, None] + (K @ alpha.unsqueeze(-1)).squeeze(-1)
    V = K @ inverse.mT
    raw = theta[:, -1, None] - (V**2).sum(-1)
    pull = -2.0 * (V @ inverse) * (raw > 0).unsqueeze(-1)
    weights = alpha.unsqueeze(-2).expand_as(K)
    mean_x = covariance_backward(weights, Xq, X, theta, kind, smooth, names, True)[0]
    variance_x = covariance_backward(pull, Xq, X, theta, kind, smooth, names, True)[0]
    return mu, raw.clamp_min(0.0), mean_x, variance_x
