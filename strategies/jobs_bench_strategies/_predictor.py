"""The performance predictor of JoBS: early values of a run in, its final value out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from jobs_bench_strategies._quiet import quiet

HIDDEN = (64, 32, 16)
DROPOUT = 0.2
LR = 0.01
WEIGHT_DECAY = 1e-4
BATCH = 8
SEED = 42


class Predictor:
    """A multilayer perceptron with the scalers of its inputs and its target in one object.

    The sizes are those of the authors' code (64-32-16-1, ReLU, dropout 0.2, Adam 0.01, weight decay
    1e-4, batches of 8, seed 42, no early stopping). What differs: predictions go through the scaler
    that the fit used; the target is standardised too, so that the rates suit any unit of the score.

    Args:
        X: Rows, ``(n, features)``.
        y: Final scores, ``(n,)``.
        epochs: Passes over the rows.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, epochs: int) -> None:
        self._x_mean, self._x_sd = X.mean(axis=0), _spread(X)
        self._y_mean, self._y_sd = float(y.mean()), float(_spread(y[:, None])[0])
        inputs = self._scaled(X)
        targets = torch.as_tensor((y - self._y_mean) / self._y_sd, dtype=torch.float64)
        with quiet(SEED):
            layers: list[nn.Module] = []
            width = X.shape[1]
            for size in HIDDEN:
                layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(DROPOUT)]
                width = size
            self._net = nn.Sequential(*layers, nn.Linear(width, 1)).double()
            adam = torch.optim.Adam(self._net.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
            self._net.train()
            for _ in range(epochs):
                for rows in torch.randperm(len(targets)).split(BATCH):
                    adam.zero_grad()
                    loss = nn.functional.mse_loss(
                        self._net(inputs[rows]).squeeze(-1), targets[rows]
                    )
                    loss.backward()
                    adam.step()
            self._net.eval()

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return predicted final scores, ``(n,)``."""
        with quiet(SEED), torch.no_grad():
            found: np.ndarray = self._net(self._scaled(X)).squeeze(-1).numpy()
        return found * self._y_sd + self._y_mean

    def _scaled(self, X: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((X - self._x_mean) / self._x_sd, dtype=torch.float64)


def _spread(X: np.ndarray) -> np.ndarray:
    sd = X.std(axis=0)
    return np.where(sd > 1e-12, sd, 1.0)
