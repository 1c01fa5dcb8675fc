"""The best recommendation as a file to read and an adapter to load."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.errors import OptionError, WorkerError
from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.runner.machine import derive_seed
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import Event, read_number
from jobs_bench.store.folder import Manifest, StudyFolder, study_folders
from jobs_bench.store.journal import read


def export(
    root: Path,
    out: Path,
    *,
    strategy: str | None,
    train: bool,
    seed: int,
    data_dir: Path | None,
) -> list[str]:
    """Write ``best.yaml`` and, with `train`, ``adapter/``; return what to tell the user.

    The best study is the closed one whose recommendation has the highest mean oracle score. All
    studies must be of one task and model.

    Raises:
        OptionError: No closed study, or studies of several tasks.
        WorkerError: The final training failed.
    """
    folder, manifest, run = _best(root, strategy)
    config, score = run.config, run.score
    out.mkdir(parents=True, exist_ok=True)
    best: dict[str, Any] = {
        "task": manifest.task,
        "model": manifest.model,
        "strategy": manifest.strategy,
        "study_seed": manifest.seed,
        "metric": manifest.metric,
        "oracle_score": score,
        "configuration": config.to_json(),
        "steps": manifest.steps[-1],
        "signature": manifest.signature,
    }
    if run.controller:
        best["controller"] = run.controller
    lines = [f"{out / 'best.yaml'}: {manifest.strategy}, oracle score {score:.4g}"]
    if train:
        where = data_dir or folder.local().get("data_dir")
        spec = BenchSpec(manifest.task, manifest.model, None if where is None else str(where))
        best["adapter"] = _train(Bench(spec), run, seed, out / "adapter")
        lines.append(f"{out / 'adapter'}: hidden-item score {best['adapter']['score']:.4g}")
    (out / "best.yaml").write_text(yaml.safe_dump(best, sort_keys=False), encoding="utf-8")
    return lines


@dataclass(frozen=True, slots=True)
class _Scored:
    """What a study recommended, and its mean oracle score."""

    score: float
    config: Configuration
    controller: str


def _best(root: Path, strategy: str | None) -> tuple[StudyFolder, Manifest, _Scored]:
    found: list[tuple[StudyFolder, Manifest, _Scored]] = []
    kinds: set[tuple[str, str | None]] = set()
    for folder in study_folders(root):
        manifest = folder.manifest()
        if strategy is not None and manifest.strategy != strategy:
            continue
        events = read(folder.events).events if folder.events.exists() else ()
        scored = _oracle(events)
        if scored is not None:
            kinds.add((manifest.task, manifest.model))
            found.append((folder, manifest, scored))
    if not found:
        raise OptionError(
            f"{root}: no finished study"
            + (f" of {strategy}" if strategy else "")
            + " with a scored recommendation; run or resume one first"
        )
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{t} on {m}" for t, m in kinds))
        raise OptionError(f"{root}: studies of several tasks ({names}); name one study's folder")
    return max(found, key=lambda f: f[2].score)


def _oracle(events: tuple[Event, ...]) -> _Scored | None:
    runs = [e.payload for e in events if e.type == "oracle" and e.payload["who"] == "recommended"]
    points = [r["outcome"]["points"] for r in runs]
    scores = [read_number(p[-1]["score"][0]) for p in points if p]
    if not scores or not events or events[-1].type != "closed":
        return None
    config = Configuration.from_json(runs[0]["config"])
    return _Scored(sum(scores) / len(scores), config, str(runs[0].get("controller", "")))


def _train(bench: Bench, run: _Scored, seed: int, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        evaluator = bench.evaluator(Path(scratch))
        if not isinstance(evaluator, FineTuneEvaluator):
            raise OptionError(
                f"{bench.spec.task} trains no model; export with --no-train for best.yaml alone"
            )
        seed_ = derive_seed("export", seed)
        outcome = evaluator.export(run.config, seed_, folder, run.controller)
    if outcome.status != "ok" or outcome.final is None:
        raise WorkerError(f"the final training ended {outcome.status}: {outcome.error}")
    metrics = {name: value.mean for name, value in outcome.final.metrics.items()}
    return {"seed": seed, "score": outcome.final.score.mean, "metrics": metrics}
