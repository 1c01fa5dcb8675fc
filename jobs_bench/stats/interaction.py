"""Interaction gain: what is gained by searching both blocks at once, the method being the same.

The joint search of a base strategy is paired, by task and seed, with each of its wrappers
(one block after the other, each block alone, in turns).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.stats.pairs import Pairing, pairing

_WRAPPED = re.compile(r"(?P<wrapper>[^()?]+)\((?P<base>.*)\)(?P<options>\?[^()]*)?")


@dataclass(frozen=True, slots=True)
class InteractionGain:
    """The joint search of `base` less `variant`, which is `wrapper` around it.

    Attributes:
        base: Strategy spec of the joint search.
        variant: Strategy spec of the wrapped search.
        wrapper: Its outer part, as in ``independent``.
        gain: Joint less variant, on the normalised scale.
    """

    base: str
    variant: str
    wrapper: str
    gain: Pairing


def interaction_gains(
    scores: Mapping[str, Mapping[tuple[str, int], float]], noise: Mapping[str, float]
) -> list[InteractionGain]:
    """Return a gain for every wrapped method whose base took part too, ordered by name.

    Args:
        scores: For each method (a strategy spec) the normalised score by (task, seed).
        noise: Noise floor of each task on the same scale.
    """
    found = []
    for variant in sorted(scores):
        match = _WRAPPED.fullmatch(variant)
        if match is None or match["base"] not in scores:
            continue
        gain = paired(scores[match["base"]], scores[variant], noise)
        if gain is not None:
            wrapper = match["wrapper"] + (match["options"] or "")
            found.append(InteractionGain(match["base"], variant, wrapper, gain))
    return sorted(found, key=lambda g: (g.base, g.wrapper))


def paired(
    a: Mapping[tuple[str, int], float],
    b: Mapping[tuple[str, int], float],
    noise: Mapping[str, float],
) -> Pairing | None:
    """Return the comparison over the (task, seed) that both have, ``None`` without any."""
    both = sorted(set(a) & set(b))
    if not both:
        return None
    floors = np.array([noise[task] for task, _ in both])
    return pairing(
        np.array([a[k] for k in both]), np.array([b[k] for k in both]), floors, _counts(both)
    )


def _counts(keys: Sequence[tuple[str, int]]) -> list[int]:
    tasks = [task for task, _ in keys]
    return [tasks.count(task) for task in dict.fromkeys(tasks)]
