"""Measure whether the pocket tasks are worth solving, with the trainer and scorer that studies use.

Run in ``tasks/``, twice side by side on two cores, then once to read the result::

    python -m pocket_recipe.measure run OUT.0.jsonl --part 0 --parts 2
    python -m pocket_recipe.measure run OUT.1.jsonl --part 1 --parts 2
    python -m pocket_recipe.measure read OUT.0.jsonl OUT.1.jsonl

Random configurations x seeds, a factorial design of random mixtures x random models x seeds, and
the default recipe. One training run is scored on the visible items of all targets, at 20 % of the
horizon and at its end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from jobs_bench.assets.models import resolve
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.runner.machine import derive_seed
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.contract import TaskSetup
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import DivergedError, Trainer
from jobs_bench_tasks.pocket.task import TARGETS

CONFIGS, SEEDS, SIDE, SIDE_SEEDS, DEFAULTS = 64, 3, 6, 2, 6
METRICS = ("gold_bpb", "exact_match")
Runs = dict[str, list[dict[str, Any]]]


def jobs(space: Any) -> list[tuple[str, Configuration, int]]:
    """Return (tag, configuration, seed) of every run."""
    rng = np.random.default_rng(2026)
    found = [("default", space.default(), s) for s in range(DEFAULTS)]
    for i in range(CONFIGS):
        config = space.sample(rng)
        found += [(f"random/{i}", config, s) for s in range(SEEDS)]
    mixtures = [space.sample(rng)["mixture"] for _ in range(SIDE)]
    models = [space.sample(rng) for _ in range(SIDE)]
    for i, mixture in enumerate(mixtures):
        for j, model in enumerate(models):
            config = model.with_({"mixture": mixture})
            found += [(f"cross/{i}/{j}", config, s) for s in range(SIDE_SEEDS)]
    return found


def run(out: Path, part: int, parts: int) -> None:
    """Train and score this part of the jobs; append one line a run. Lines that are there stay."""
    torch.set_num_threads(1)
    facts = resolve("pocket")
    tasks = {t.target: t(TaskSetup(facts)) for t in TARGETS}
    spec = next(iter(tasks.values())).spec
    model = LanguageModel(facts.path, torch.device("cpu"))
    recipe = spec.recipe
    stream = MixtureStream(model, spec.domains, recipe.batch_size, recipe.max_length, True)
    scorers = {
        name: Scorer(model, t.spec.visible, None, recipe.eval_tokens) for name, t in tasks.items()
    }
    done = {(r["tag"], r["seed"]) for r in read_lines([out])} if out.exists() else set()
    for k, (tag, config, seed) in enumerate(jobs(spec.search)):
        if k % parts != part or (tag, seed) in done:
            continue
        began = time.perf_counter()
        curve: list[dict[str, Any]] = []
        number = derive_seed(tag, seed)
        try:
            with trainable(model, config, number) as adapted:
                trainer = Trainer(adapted, stream, recipe, number)
                for progress in trainer.run([recipe.fidelity.steps[1], recipe.fidelity.horizon]):
                    scores = {n: s.score().metrics for n, s in scorers.items()}
                    plain = {n: {m: v.mean for m, v in g.items()} for n, g in scores.items()}
                    curve.append({"step": progress.step, **plain})
        except DivergedError:
            curve = []
        seconds = round(time.perf_counter() - began, 2)
        line = {"tag": tag, "seed": seed, "config": config.to_json(), "seconds": seconds}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "curve": curve}) + "\n")


def read_lines(paths: list[Path]) -> list[dict[str, Any]]:
    """Return the runs in all files."""
    return [json.loads(x) for p in paths for x in p.read_text(encoding="utf-8").splitlines()]


def _values(runs: Runs, kind: str, target: str, metric: str, at: int) -> list[list[float]]:
    sign = -1.0 if metric == "gold_bpb" else 1.0
    return [
        [sign * r["curve"][at][target][metric] for r in group if r["curve"]]
        for tag, group in runs.items()
        if tag.split("/")[0] == kind
    ]


def summary(runs: Runs, target: str, metric: str) -> dict[str, float]:
    """Return the numbers (a) to (d) for one target; scores, higher is better."""
    ends = [g for g in _values(runs, "random", target, metric, -1) if len(g) > 1]
    early = [g for g in _values(runs, "random", target, metric, 0) if len(g) > 1]
    means = np.array([np.mean(g) for g in ends])
    starts = np.array([np.mean(g) for g in early])
    noise = float(np.sqrt(np.mean([np.var(g, ddof=1) for g in ends])))
    default = np.array(_values(runs, "default", target, metric, -1)[0])
    top = means >= np.median(means)
    cells = np.array(_values(runs, "cross", target, metric, -1)).reshape(SIDE, SIDE, SIDE_SEEDS)
    return {
        "spread": float(means.std(ddof=1)),
        "noise": noise,
        "spread_over_noise": float(means.std(ddof=1)) / noise,
        "rank_correlation": float(spearmanr(starts, means)[0]),
        "rank_correlation_top_half": float(spearmanr(starts[top], means[top])[0]),
        "interaction_share": _interaction(cells),
        "default": float(default.mean()),
        "default_sd": float(default.std(ddof=1)),
        "median_random": float(np.median(means)),
        "best_random": float(means.max()),
        "best_over_default_in_noise": float((means.max() - default.mean()) / noise),
        "share_above_default": float(np.mean(means > default.mean())),
    }


def _interaction(y: np.ndarray) -> float:
    """Return the mixture x model share of the explained variance, noise taken off.

    Args:
        y: ``(mixtures, models, seeds)`` scores. Expected mean squares of the two-way design give
            the variance components (Searle, Casella, McCulloch, Variance Components, 1992, ch. 4).
    """
    a, b, n = y.shape
    within = y.var(axis=2, ddof=1).mean()
    cell = y.mean(axis=2)
    row, column = cell.mean(axis=1, keepdims=True), cell.mean(axis=0, keepdims=True)
    cross = cell - row - column + cell.mean()
    ms_cross = n * (cross**2).sum() / ((a - 1) * (b - 1))
    ms_row = n * b * row.var(ddof=1)
    ms_column = n * a * column.var(ddof=1)
    v_cross = max(0.0, (ms_cross - within) / n)
    v_row = max(0.0, (ms_row - ms_cross) / (n * b))
    v_column = max(0.0, (ms_column - ms_cross) / (n * a))
    total = v_cross + v_row + v_column
    return float(v_cross / total) if total > 0 else 0.0


def report(paths: list[Path]) -> None:
    """Print the summary as JSON."""
    lines = read_lines(paths)
    runs: Runs = defaultdict(list)
    for line in sorted(lines, key=lambda r: (r["tag"], r["seed"])):
        runs[line["tag"]].append(line)
    seconds = [line["seconds"] for line in lines]
    found: dict[str, Any] = {
        "runs": len(lines),
        "diverged": sum(not line["curve"] for line in lines),
        "seconds_mean": float(np.mean(seconds)),
        "seconds_max": float(np.max(seconds)),
    }
    for line in lines:
        for point in line["curve"]:
            each = [point[task.target] for task in TARGETS]
            point["all"] = {m: float(np.mean([e[m] for e in each])) for m in METRICS}
    for target in (*(task.target for task in TARGETS), "all"):
        for metric in METRICS:
            found[f"pocket_{target} {metric}"] = summary(runs, target, metric)
    print(json.dumps(found, indent=2))


def main() -> None:
    """Run or read."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    go = commands.add_parser("run")
    go.add_argument("out", type=Path)
    go.add_argument("--part", type=int, default=0)
    go.add_argument("--parts", type=int, default=1)
    look = commands.add_parser("read")
    look.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "run":
        run(args.out, args.part, args.parts)
    else:
        report(args.files)


if __name__ == "__main__":
    main()
