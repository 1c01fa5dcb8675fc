"""A surrogate: what a table would have said of a configuration that was never recorded.

The mean over training seeds is a Gaussian process (`gp`); noise is a *recorded* one: the difference
between a recorded curve and the mean of its configuration, picked by (seed, configuration), so that
it is as heavy-tailed and as alike from step to step and metric to metric as it was. Tables with one
seed have no such differences; there the reported standard errors are drawn from instead.

It ships with its held-out quality and refuses to load where that is poor. Beyond its support it
says so: a trial there is an outcome that failed, never an extrapolation.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from jobs_bench.errors import DataError
from jobs_bench.space.configuration import Configuration
from jobs_bench.table.curves import Curve, RunCost
from jobs_bench.table.gp import Process, features, fit_kernel, standards
from jobs_bench.table.header import TableMetric, Target
from jobs_bench.table.pool import in_part
from jobs_bench.table.table import Table
from jobs_bench.trial import Point, Value

FILE: Final = "surrogates.json"
MIN_TAU: Final = 0.8
FOLDS: Final = 5
FEWEST: Final = 20
COSTS: Final = ("train_tok", "train_flop", "eval_tok", "eval_flop")


@dataclass(frozen=True, slots=True)
class Quality:
    """How well held-out configurations are predicted at a step: 5 folds by configuration."""

    step: int
    r2: float
    tau: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is stored of a surrogate; the rest is computed from the table.

    Attributes:
        signature: Of the table it was fitted on.
        target: Name of the target.
        part: Part of the configurations.
        configs: How many it was fitted on.
        dropped: Configurations without a complete run, left out.
        score: Kernel parameters of metrics and oracle.
        losses: Of the domain losses, empty: none.
        costs: Of the costs.
        held_out: Quality by step, the horizon last.
        oracle_tau: Kendall's tau of held-out oracle scores.
    """

    signature: str
    target: str
    part: str
    configs: int
    dropped: int
    score: tuple[float, ...]
    losses: tuple[float, ...]
    costs: tuple[float, ...]
    held_out: tuple[Quality, ...]
    oracle_tau: float


class _Data:
    """A target's outputs by configuration: means over seeds and the recorded differences."""

    def __init__(self, table: Table, target: Target, part: str) -> None:
        header = table.header
        trials = in_part(table.trials, part)
        self.steps = target.steps or header.fidelity.steps
        self.columns = list(target.metrics.values())
        self.oracle = target.oracle or target.metric
        self.domains = [d for d, _ in header.domains if f"loss.{d}" in table.points]
        self.metrics = {c: header.metric(c) for c in [*self.columns, self.oracle]}
        points = table.points.set_index(["trial", "step"]).sort_index()
        good = trials[trials["status"] == "ok"]
        by_config: dict[int, list[np.ndarray]] = {}
        for trial, number in zip(good["trial"], good["config"], strict=True):
            row = self._row(points, int(trial))
            if row is not None:
                by_config.setdefault(int(number), []).append(row)
        self.numbers = list(by_config)
        self.dropped = trials["config"].nunique() - len(by_config)
        if len(by_config) < FEWEST:
            raise DataError(
                f"table {header.name}: {len(by_config)} configurations of part {part} have a "
                f"complete run; wanted at least {FEWEST} for a surrogate"
            )
        self.Y = np.stack([np.mean(rows, axis=0) for rows in by_config.values()])
        self.noise = _differences(list(by_config.values()))
        self.se = self._errors(points, good)
        self.X = features(header.space)([table.configs[n] for n in self.numbers])
        self.costs = _cost_matrix(trials, target, self.numbers)

    @property
    def n_score(self) -> int:
        """Return the outputs that are metrics; domain losses follow."""
        return len(self.columns) * len(self.steps) + 1

    def at(self, column: str) -> slice:
        """Return where a metric's curve stands among the outputs."""
        i = self.columns.index(column) * len(self.steps)
        return slice(i, i + len(self.steps))

    def _row(self, points: pd.DataFrame, trial: int) -> np.ndarray | None:
        try:
            curve = points.loc[[(trial, s) for s in self.steps]]
        except KeyError:
            return None
        parts = [forward(self.metrics[c], curve[c].to_numpy(np.float64)) for c in self.columns]
        parts.append(forward(self.metrics[self.oracle], curve[self.oracle].to_numpy()[-1:]))
        parts += [curve[f"loss.{d}"].to_numpy(np.float64) for d in self.domains]
        row = np.concatenate(parts)
        return row if np.isfinite(row).all() else None

    def _errors(self, points: pd.DataFrame, good: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the median standard error of each metric at each step, 0 where unknown."""
        found = {}
        shown = points[points.index.get_level_values("trial").isin(good["trial"])]
        for column in self.columns:
            name = f"{column}.se"
            if name in shown:
                medians = shown[name].groupby(level="step").median()
                found[column] = medians.reindex(self.steps).fillna(0.0).to_numpy(np.float64)
            else:
                found[column] = np.zeros(len(self.steps))
        return found


def fit(table: Table, target: Target, part: str) -> Fitted:
    """Return the surrogate's parameters and its held-out quality.

    Raises:
        DataError: Too few complete configurations.
    """
    data = _Data(table, target, part)
    k = data.n_score
    shown = [*range(data.at(target.metric).start, data.at(target.metric).stop), k - 1]
    held_out, oracle_tau = _held_out(data, shown)
    score = fit_kernel(data.X, _standard(data.Y[:, shown]))
    losses = fit_kernel(data.X, _standard(data.Y[:, k:])) if data.domains else np.zeros(0)
    costs = fit_kernel(data.X, _standard(data.costs))
    return Fitted(
        signature=table.signature,
        target=target.name,
        part=part,
        configs=len(data.numbers),
        dropped=data.dropped,
        score=tuple(score.tolist()),
        losses=tuple(losses.tolist()),
        costs=tuple(costs.tolist()),
        held_out=held_out,
        oracle_tau=oracle_tau,
    )


class Surrogate:
    """Replays any configuration within the support of a table.

    Args:
        table: Valid.
        target: Which of its targets.
        fitted: From `fit`, on the same table.

    Raises:
        DataError: Fitted on another table or target, or Kendall's tau at the horizon below 0.8.
    """

    candidates = None

    def __init__(self, table: Table, target: Target, fitted: Fitted) -> None:
        header = table.header
        if (fitted.signature, fitted.target) != (table.signature, target.name):
            raise DataError(
                f"table {header.name}: the surrogate was fitted on {fitted.signature} for target "
                f"{fitted.target}; the table is {table.signature}, the target {target.name}: "
                "run `table fit` again"
            )
        last = fitted.held_out[-1]
        if not last.tau >= MIN_TAU:
            raise DataError(
                f"table {header.name}, target {target.name}, part {fitted.part}: the surrogate's "
                f"held-out Kendall tau at step {last.step} is {last.tau:.3f}; wanted at least "
                f"{MIN_TAU}: use kind=pool, or record more configurations"
            )
        self._target = target
        self._data = _Data(table, target, fitted.part)
        self._features = features(header.space)
        data, k = self._data, self._data.n_score
        self._score = Process(np.asarray(fitted.score), data.X, data.Y[:, :k])
        self._losses = (
            Process(np.asarray(fitted.losses), data.X, data.Y[:, k:]) if data.domains else None
        )
        self._costs = Process(np.asarray(fitted.costs), data.X, data.costs)
        self._limit = float(self._score.left_out().max())
        self._means = lru_cache(maxsize=1 << 14)(self._predict)
        self.default = header.space.default()

    def curve(self, config: Configuration, seed: int) -> Curve:
        """Return the predicted mean with the noise that (seed, configuration) picks."""
        data = self._data
        mean, spread = self._means(config)
        if spread > self._limit:
            return Curve({}, "crashed", self._outside(spread))
        values = mean + self._noise(config, seed)
        metrics = {c: backward(data.metrics[c], values[data.at(c)]).tolist() for c in data.columns}
        losses = values[data.n_score :].reshape(len(data.domains), len(data.steps))
        points = {}
        sign = 1.0 if data.metrics[self._target.metric].higher_is_better else -1.0
        for i, step in enumerate(data.steps):
            shown = {
                short: Value(metrics[c][i], float(data.se[c][i]), data.metrics[c].items)
                for short, c in self._target.metrics.items()
            }
            score = metrics[self._target.metric][i]
            se = float(data.se[self._target.metric][i])
            points[step] = Point(
                step,
                Value(sign * score, se, data.metrics[self._target.metric].items),
                shown,
                {d: float(losses[j, i]) for j, d in enumerate(data.domains)},
            )
        return Curve(points)

    def oracle(self, config: Configuration) -> Value | None:
        """Return the predicted mean; ``None`` beyond the support."""
        data = self._data
        mean, spread = self._means(config)
        if spread > self._limit:
            return None
        metric = data.metrics[data.oracle]
        at = data.n_score - 1
        score = float(backward(metric, mean[at : at + 1])[0])
        return Value(score if metric.higher_is_better else -score, math.nan, metric.items)

    def cost(self, config: Configuration) -> RunCost:
        """Return the predicted costs, above 0: hence segments cost more the longer they are."""
        (row,) = self._features([config])
        values = np.exp(self._costs.predict(row)[0]).tolist()
        train_tok, train_flop, eval_tok, eval_flop = values
        return RunCost(train_tok, train_flop, eval_tok, eval_flop)

    def _predict(self, config: Configuration) -> tuple[np.ndarray, float]:
        (row,) = self._features([config])
        score, spread = self._score.predict(row)
        if self._losses is None:
            return score, spread
        return np.concatenate([score, self._losses.predict(row)[0]]), spread

    def _noise(self, config: Configuration, seed: int) -> np.ndarray:
        data = self._data
        digest = hashlib.sha256(f"{seed}/{config.key()}".encode()).digest()
        number = int.from_bytes(digest[:8], "big")
        if len(data.noise):
            return np.asarray(data.noise[number % len(data.noise)])
        rng = np.random.default_rng(number)
        noise = np.zeros(data.Y.shape[1])
        mean, _ = self._means(config)
        for column in data.columns:
            where = data.at(column)
            slope = slope_of(data.metrics[column], mean[where])
            noise[where] = rng.standard_normal(len(data.steps)) * data.se[column] * slope
        return noise

    def _outside(self, spread: float) -> str:
        return (
            f"outside the support of the table: relative standard deviation {spread:.3f}; no "
            f"recorded configuration had more than {self._limit:.3f} when it was left out"
        )


def load(folder: Path, target: str, part: str) -> Fitted:
    """Return the stored surrogate of a target and part.

    Raises:
        DataError: None is stored, or the file cannot be read.
    """
    stored = read_all(folder)
    for fitted in stored:
        if (fitted.target, fitted.part) == (target, part):
            return fitted
    there = ", ".join(f"{f.target} of part {f.part}" for f in stored) or "none"
    raise DataError(
        f"no surrogate of target {target}, part {part}; there are: {there}. `table fit` makes one",
        folder / FILE,
    )


def read_all(folder: Path) -> list[Fitted]:
    """Return every stored surrogate.

    Raises:
        DataError: The file cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return [_fitted(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as err:
        raise DataError(f"is no list of surrogates: {err}", path) from err


def store(folder: Path, fitted: Sequence[Fitted]) -> None:
    """Write surrogates beside the table; those of other targets and parts stay."""
    new = {(f.target, f.part): f for f in fitted}
    kept = {(f.target, f.part): f for f in read_all(folder)}
    lines = [json.dumps(asdict(f)) for _, f in sorted({**kept, **new}.items())]
    temporary = folder / f"{FILE}.tmp"
    temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    temporary.replace(folder / FILE)


def forward(metric: TableMetric, values: np.ndarray) -> np.ndarray:
    """Return `values` as they are modelled: the logarithm of metrics in ``[0, inf)``."""
    return np.log(np.maximum(values, 1e-9)) if _is_log(metric) else np.asarray(values)


def backward(metric: TableMetric, values: np.ndarray) -> np.ndarray:
    """Return modelled values in the metric's unit, within its bounds."""
    plain = np.exp(values) if _is_log(metric) else values
    return np.asarray(np.clip(plain, metric.low, metric.high))


def slope_of(metric: TableMetric, values: np.ndarray) -> np.ndarray:
    """Return how much a modelled value moves with the metric: the derivative of `forward`."""
    return np.asarray(np.exp(-values) if _is_log(metric) else np.ones_like(values))


def _is_log(metric: TableMetric) -> bool:
    return metric.low == 0.0 and math.isinf(metric.high)


def _fitted(item: Mapping[str, Any]) -> Fitted:
    plain = {**item, "held_out": tuple(Quality(**q) for q in item["held_out"])}
    for name in ("score", "losses", "costs"):
        plain[name] = tuple(float(v) for v in item[name])
    return Fitted(**plain)


def _standard(Y: np.ndarray) -> np.ndarray:
    mean, sd = standards(Y)
    return np.asarray((Y - mean) / sd)


def _held_out(data: _Data, shown: Sequence[int]) -> tuple[tuple[Quality, ...], float]:
    fold = np.random.default_rng(0).permutation(len(data.X)) % FOLDS
    Y = data.Y[:, list(shown)]
    predicted = np.zeros_like(Y)
    for k in range(FOLDS):
        inside = fold != k
        theta = fit_kernel(data.X[inside], _standard(Y[inside]))
        process = Process(theta, data.X[inside], Y[inside])
        for i in np.flatnonzero(~inside):
            predicted[i] = process.predict(data.X[i])[0]
    rest = ((Y - predicted) ** 2).sum(axis=0)
    total = np.maximum(((Y - Y.mean(axis=0)) ** 2).sum(axis=0), 1e-300)
    taus = [float(kendalltau(predicted[:, i], Y[:, i]).statistic) for i in range(Y.shape[1])]
    quality = tuple(
        Quality(step, round(float(1 - rest[i] / total[i]), 4), round(taus[i], 4))
        for i, step in enumerate(data.steps)
    )
    return quality, round(taus[-1], 4)


def _differences(groups: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return recorded curves less their configuration's mean, scaled to a single run's spread."""
    rows = [
        (row - np.mean(group, axis=0)) * math.sqrt(len(group) / (len(group) - 1))
        for group in groups
        if len(group) > 1
        for row in group
    ]
    return np.stack(rows) if rows else np.zeros((0, 0))


def _cost_matrix(trials: pd.DataFrame, target: Target, numbers: Sequence[int]) -> np.ndarray:
    """Return the logarithms of the costs ``(n, 4)``; costs of 0 count as 1e-9."""
    first = trials.drop_duplicates("config").set_index("config").loc[list(numbers)]
    columns = [c if c.startswith("train") else f"{c}.{target.name}" for c in COSTS]
    costs = first[columns].to_numpy(dtype=np.float64)
    return np.asarray(np.log(np.maximum(costs, 1e-9)))
