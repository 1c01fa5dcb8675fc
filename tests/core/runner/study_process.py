"""A study in a process of its own, to be killed: ``python study_process.py FOLDER KIND WORKERS``.

``KIND`` is ``synthetic`` (outcomes from a formula, a few milliseconds each) or a folder with a
model (real LoRA segments with checkpoints).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs_bench.fidelity import Fidelity
from jobs_bench.registry.loading import load_strategy
from jobs_bench.runner.executor import InlineExecutor
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.runner.study import Study
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.presets import lora_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.task.contract import Evaluator
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Outcome, Point, Segment, Value

STEPS = (2, 4, 8)
TRAINED_FLOP = 1.5e7  # about what eight steps of the real trials below cost
SPACE = lora_space(Simplex("mixture", ("a", "b", "c"), floor=0.02), 3, r=(1, 8), default_r=4)


class Formula:
    """The synthetic problem as an evaluator, slow enough to be killed in the middle."""

    def __init__(self, problem: Synthetic) -> None:
        self._problem = problem

    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        time.sleep(0.01 * len(segments))
        return [self._problem.run(s) for s in segments]

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> list[Outcome]:
        time.sleep(0.01)
        if config is None:
            nothing = Segment(0, Configuration(), 0, 0, 0)
            return [Outcome(nothing, "ok", (Point(0, Value(-1.0, 0.1, 9)),), ())]
        horizon = self._problem.fidelity.horizon
        return self.run([Segment(0, config, 0, horizon, seed) for seed in seeds])

    def discard(self, trial_id: int) -> None:
        del trial_id

    def close(self) -> None:
        """Hold nothing."""


def trained(folder: Path, checkpoints: Path) -> Evaluator:
    """Return the real evaluator on letters; the model is whatever lies in `folder`."""
    import torch

    from jobs_bench.evaluator.finetune import FineTuneEvaluator
    from jobs_bench.task.contract import ModelFacts
    from jobs_bench.task.finetune import Domain, Exact, FineTune, Recipe, Row

    torch.set_num_threads(1)
    rows = {d: [Row(f"{d}{i}?", f" {d * (1 + i % 3)}") for i in range(12)] for d in "abc"}
    spec = FineTune(
        domains=tuple(Domain(d, r) for d, r in rows.items()),
        visible=tuple(Exact(f"q{i}", f"a{i}?", "aa") for i in range(4)),
        hidden=tuple(Exact(f"h{i}", f"b{i}?", "bb") for i in range(4)),
        recipe=Recipe(Fidelity(STEPS), batch_size=2, max_length=16, warmup_steps=1),
        metric="gold_bpb",
        higher_is_better=False,
        model_path=str(folder),
    )
    facts = ModelFacts("tiny", folder, "tiny", 3, 30000, 32, 43, 64)
    return FineTuneEvaluator(spec, facts, checkpoints)


def main(
    root: Path,
    kind: str,
    workers: int,
    strategy: str = "hyperband?eta=2",
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Begin the study, or go on with it; return whether it is closed."""
    problem = Synthetic(space=SPACE, fidelity=Fidelity(STEPS), fail_share=0.1)
    told = problem.problem("4x", workers=workers)
    folder = StudyFolder(root)
    real = kind != "synthetic"
    flop = TRAINED_FLOP if real else problem.ledger().full_run_flop
    manifest = Manifest(
        "synthetic", strategy, None, 3, "4x", workers, (1, 2), "sig", "score", True, STEPS, flop
    )
    if not folder.exists():
        folder.create(manifest, {})
    evaluator = trained(Path(kind), folder.checkpoints) if real else Formula(problem)
    return Study(
        folder=folder,
        strategy=load_strategy(strategy),
        problem=told,
        executor=InlineExecutor(evaluator),
        oracle_cache=OracleCache(root / "oracle", "sig"),
        default=told.default,
        stop=stop,
    ).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
