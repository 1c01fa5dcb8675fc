"""One trial's dropout masks, the ones that it would draw if it trained alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout


class Masks:
    """Masks of one trial for one step, drawn in the order in which the model runs its modules.

    A trial alone seeds the device's generator at each step and lets every module's dropout draw
    from it. Here each trial has a generator of its own: on the CPU a real one; on a GPU the state
    of the device's generator, put in for each draw, since the masks there depend on the kernel.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self._own = torch.Generator()
        self._state: Tensor | None = None
        if device.type == "cuda":
            with torch.random.fork_rng(devices=[device]):
                torch.cuda.manual_seed(seed)
                self._state = torch.cuda.get_rng_state(device)
        else:
            self._own.manual_seed(seed)

    def draw(self, share: float, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return, as bools, what is kept: each with probability ``1 - share``.

        Args:
            share: What is dropped, ``(0, 1)``.
            shape: Of the activations.
            dtype: Of the activations; on a GPU the masks may depend on it.
        """
        if self._state is None:
            return torch.empty(shape, dtype=torch.bool).bernoulli_(1 - share, generator=self._own)
        with torch.random.fork_rng(devices=[self._device]):
            torch.cuda.set_rng_state(self._state, self._device)
            ones = torch.ones(shape, dtype=dtype, device=self._device)
            kept = dropout(ones, share, training=True).bool()
            self._state = torch.cuda.get_rng_state(self._device)
        return kept
