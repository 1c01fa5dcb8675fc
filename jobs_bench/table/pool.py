"""A finite pool: the recorded configurations themselves, each with its recorded curves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, cast, get_args

import numpy as np
import pandas as pd

from jobs_bench.errors import DataError, UnknownNameError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.space import Space
from jobs_bench.table.curves import Curve, RunCost
from jobs_bench.table.header import Target
from jobs_bench.table.table import Table
from jobs_bench.trial import Point, Status, Value

EVERYTHING = "all"


class Pool:
    """Replays recorded trials exactly; the trial's seed picks one of the recorded seeds.

    Args:
        table: Valid.
        target: Which of its targets.
        part: Part of its configurations, ``all``: every one.

    Raises:
        UnknownNameError: No such part.
        DataError: A configuration of the part was never recorded to its end.
    """

    def __init__(self, table: Table, target: Target, part: str = EVERYTHING) -> None:
        header = table.header
        trials = in_part(table.trials, part)
        self._sign = 1.0 if header.metric(target.metric).higher_is_better else -1.0
        self._configs = {n: c for n, c in table.configs.items() if n in set(trials["config"])}
        self._numbers = {config: n for n, config in self._configs.items()}
        self._runs = _curves(table, target, trials, self._sign)
        self._oracle = oracle_values(table, target, trials)
        self._costs = run_costs(trials, target)
        self.default = _default(header.space, self._configs)
        self.candidates = tuple(self._numbers)
        never = [n for n in self._configs if n not in self._oracle]
        if never:
            raise DataError(
                f"table {header.name}: {len(never)} configurations of part {part} have no score at "
                f"the horizon (numbers {never[:5]}); wanted one for each: see `table validate`"
            )

    def curve(self, config: Configuration, seed: int) -> Curve:
        """Return a recorded curve."""
        number = self._numbers.get(config)
        if number is None:
            return Curve({}, "crashed", f"{config} is not in the pool of {len(self._numbers)}")
        runs = self._runs[number]
        return runs[_pick(config, seed, len(runs))]

    def oracle(self, config: Configuration) -> Value | None:
        """Return the mean over the recorded seeds, with the standard error of that mean."""
        number = self._numbers.get(config)
        return None if number is None else self._oracle[number]

    def cost(self, config: Configuration) -> RunCost:
        """Return what was recorded; of the first candidate where `config` is no candidate."""
        return self._costs[self._numbers.get(config, next(iter(self._costs)))]


def in_part(trials: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the trials of a part.

    Raises:
        UnknownNameError: There is no such part.
    """
    if part == EVERYTHING:
        return trials
    found = trials[trials["part"] == part]
    if found.empty:
        raise UnknownNameError("part", part, [EVERYTHING, *map(str, trials["part"].unique())])
    return found


def run_costs(trials: pd.DataFrame, target: Target) -> dict[int, RunCost]:
    """Return the costs of each configuration, by number."""
    first = trials.drop_duplicates("config")
    columns = ["train_tok", "train_flop", f"eval_tok.{target.name}", f"eval_flop.{target.name}"]
    rows = first[columns].to_numpy(dtype=np.float64).tolist()
    return {int(n): RunCost(*row) for n, row in zip(first["config"], rows, strict=True)}


def oracle_values(table: Table, target: Target, trials: pd.DataFrame) -> dict[int, Value]:
    """Return the oracle score of each configuration that reached the horizon, by number.

    The mean over the recorded seeds, higher is better. Its standard error is that between seeds
    where there are several, else that of the items.
    """
    header = table.header
    name = target.oracle or target.metric
    sign = 1.0 if header.metric(name).higher_is_better else -1.0
    ends = table.points[table.points["step"] == header.fidelity.horizon]
    joined = trials[trials["status"] == "ok"].merge(ends, on="trial")
    found: dict[int, Value] = {}
    for number, group in joined.groupby("config", sort=False):
        scores = group[name].to_numpy(dtype=np.float64)
        if not np.isfinite(scores).all():
            continue
        n = len(scores)
        if n > 1:
            se = float(scores.std(ddof=1)) / math.sqrt(n)
        else:
            se = float(group[f"{name}.se"].iloc[0]) if f"{name}.se" in group else math.nan
        found[int(cast("int", number))] = Value(sign * float(scores.mean()), se, n)
    return found


def _curves(
    table: Table, target: Target, trials: pd.DataFrame, sign: float
) -> dict[int, list[Curve]]:
    header = table.header
    steps = target.steps or header.fidelity.steps
    losses = [f"loss.{d}" for d, _ in header.domains if f"loss.{d}" in table.points]
    rows = table.points[table.points["step"].isin(steps)]
    by_trial: dict[int, dict[int, Point]] = {}
    for record in rows.to_dict("records"):
        point = _point(header_items(table, target), target, record, losses, sign)
        by_trial.setdefault(int(record["trial"]), {})[point.step] = point
    found: dict[int, list[Curve]] = {}
    for trial, number, status in zip(
        trials["trial"], trials["config"], trials["status"], strict=True
    ):
        if status not in get_args(Status):
            raise DataError(f"trial {trial}: got the status {status!r}; known: {get_args(Status)}")
        points = by_trial.get(int(trial), {})
        error = "" if status == "ok" else f"recorded as {status}"
        found.setdefault(int(number), []).append(Curve(points, status, error))
    return found


def header_items(table: Table, target: Target) -> Mapping[str, int]:
    """Return the number of items behind each column of a target."""
    return {column: table.header.metric(column).items for column in target.metrics.values()}


def _point(
    items: Mapping[str, int], target: Target, record: Mapping[Any, Any], losses: list[str],
    sign: float,
) -> Point:  # fmt: skip
    def value(column: str) -> Value:
        se = record.get(f"{column}.se", math.nan)
        return Value(float(record[column]), float(se), items[column])

    score = value(target.metric)
    return Point(
        step=int(record["step"]),
        score=Value(sign * score.mean, score.se, score.n),
        metrics={short: value(column) for short, column in target.metrics.items()},
        domain_losses={c.removeprefix("loss."): float(record[c]) for c in losses},
    )


def _default(space: Space, configs: Mapping[int, Configuration]) -> Configuration:
    """Return the default of the space, or the recorded configuration nearest to it."""
    wanted = space.default()
    if wanted in configs.values():
        return wanted
    encoding = NativeEncoding(space)
    at = encoding.hellinger(encoding.encode(wanted))
    pool = list(configs.values())
    gaps = encoding.hellinger(encoding.encode_all(pool)) - at
    return pool[int(np.argmin((gaps**2).sum(axis=1)))]


def _pick(config: Configuration, seed: int, n: int) -> int:
    """Return which of `n` recordings a trial gets: by its seed and configuration alone."""
    if n == 1:
        return 0
    digest = hashlib.sha256(f"{seed}/{config.key()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % n
