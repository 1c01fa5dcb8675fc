"""What the model-based strategies take from the outcomes told: scores, and failures to keep off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench_strategies._observing import finite_score

# the configuration's own fault; a crashed or lost worker says nothing about the configuration
BLAMED = frozenset({"diverged", "oom", "timeout"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Trials with their scores at one step.

    Attributes:
        trials: With a finite score, in order of their numbers.
        scores: Theirs, ``(n,)``.
        blamed: Configurations that failed by their own fault or scored no finite number.
    """

    trials: tuple[TrialRecord, ...]
    scores: np.ndarray
    blamed: tuple[Configuration, ...]

    @property
    def configs(self) -> list[Configuration]:
        """Return the configurations of `trials`."""
        return [t.config for t in self.trials]

    def with_failures(self) -> tuple[list[Configuration], np.ndarray]:
        """Return configurations and scores, blamed ones with the worst score seen.

        A model that never hears of failures proposes their neighbourhood for ever.
        """
        worst = np.full(len(self.blamed), self.scores.min())
        return [*self.configs, *self.blamed], np.concatenate([self.scores, worst])


def at_step(seen: History, step: int) -> Evidence:
    """Return the evidence at exactly `step`."""
    trials: list[TrialRecord] = []
    scores: list[float] = []
    blamed: list[Configuration] = []
    for trial in sorted(seen, key=lambda t: t.trial_id):
        score = finite_score(trial, step)
        if score is not None:
            trials.append(trial)
            scores.append(score)
        elif trial.status in BLAMED or trial.score_at(step) is not None:
            blamed.append(trial.config)
    return Evidence(tuple(trials), np.asarray(scores, dtype=np.float64), tuple(blamed))


def best_first(configs: Sequence[Configuration], values: np.ndarray) -> list[Configuration]:
    """Return `configs` without repetitions, highest value first."""
    order = np.argsort(-values, kind="stable")
    return list(dict.fromkeys(configs[i] for i in order))
