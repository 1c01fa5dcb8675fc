"""What is wrong with a table: every problem named and counted, none repaired."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pandas as pd

from jobs_bench.errors import InputError
from jobs_bench.table.header import TableMetric, Target
from jobs_bench.table.table import Table, config_columns
from jobs_bench.trial import Status

SHOWN = 5
_PARTS_RTOL = 1e-6


def validate(table: Table) -> list[str]:
    """Return the problems of a table, empty: it is sound."""
    return [
        *_trials(table),
        *_configs(table),
        *_steps(table),
        *(problem for metric in table.header.metrics for problem in _values(table, metric)),
        *(problem for target in table.header.targets for problem in _parts(table, target)),
        *_costs(table),
    ]


def _trials(table: Table) -> Iterator[str]:
    trials = table.trials
    if trials.empty:
        yield "there are no trials"
        return
    twice = trials.loc[trials["trial"].duplicated(), "trial"]
    if len(twice):
        yield f"{len(twice)} trial numbers stand there twice: {_some(twice)}"
    again = trials.duplicated(["config", "seed"])
    if again.any():
        yield (
            f"{int(again.sum())} trials repeat a configuration and seed: "
            f"trials {_some(trials.loc[again, 'trial'])}"
        )
    strange = trials.loc[~trials["status"].isin(get_args(Status)), "status"]
    if len(strange):
        known = ", ".join(get_args(Status))
        yield f"{len(strange)} trials have an unknown status: {_some(strange)}; known: {known}"
    blank = trials["part"].isna() | (trials["part"] == "")
    if blank.any():
        yield f"{int(blank.sum())} trials have no part"
    parts = trials.groupby("config")["part"].nunique()
    if (parts > 1).any():
        yield f"{int((parts > 1).sum())} configurations are in several parts"


def _configs(table: Table) -> Iterator[str]:
    columns = config_columns(table.header.space)
    spread = table.trials.groupby("config")[columns].nunique(dropna=False)
    several = spread.index[(spread > 1).any(axis=1)]
    if len(several):
        yield f"{len(several)} configurations differ between their trials: {_some(several)}"
    try:
        configs = table.configs
    except InputError as err:
        yield f"a configuration is no point of the space: {err}"
        return
    doubled = len(configs) - len(set(configs.values()))
    if doubled:
        yield f"{doubled} configurations have the same values as another one"


def _steps(table: Table) -> Iterator[str]:
    points, wanted = table.points, table.header.fidelity.steps
    twice = points.duplicated(["trial", "step"])
    if twice.any():
        yield (
            f"{int(twice.sum())} points repeat a trial and step: "
            f"trials {_some(points.loc[twice, 'trial'])}"
        )
    alien = points.loc[~points["step"].isin(wanted), "step"]
    if len(alien):
        yield f"{len(alien)} points are at steps that the table does not have: {_some(alien)}"
    lost = points.loc[~points["trial"].isin(table.trials["trial"]), "trial"]
    if len(lost):
        yield f"{len(lost)} points are of unknown trials: {_some(lost)}"
    good = table.trials.loc[table.trials["status"] == "ok", "trial"]
    counts = points[points["step"].isin(wanted)].groupby("trial")["step"].nunique()
    short = good[counts.reindex(good).fillna(0).to_numpy() < len(wanted)]
    if len(short):
        yield (
            f"{len(short)} trials are ok but lack some of the {len(wanted)} steps: "
            f"trials {_some(short)}"
        )


def _values(table: Table, metric: TableMetric) -> Iterator[str]:
    points, header = table.points, table.header
    if metric.at == "horizon":
        points = points[points["step"] == header.fidelity.horizon]
    values = points[metric.name].to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        yield (
            f"{metric.name}: {int((~finite).sum())} of {len(values)} values are missing or not "
            f"finite: trials {_some(points.loc[~finite, 'trial'])}"
        )
    outside = finite & ((values < metric.low) | (values > metric.high))
    if outside.any():
        unit = f" {metric.unit}" if metric.unit else ""
        yield (
            f"{metric.name}: {int(outside.sum())} values are outside [{metric.low:g}, "
            f"{metric.high:g}]{unit}, up to {_farthest(values[outside], metric):g}: is the unit "
            "right?"
        )
    if f"{metric.name}.se" in points:
        errors = points[f"{metric.name}.se"].to_numpy(dtype=np.float64)
        if (errors < 0).any():
            yield f"{metric.name}: {int((errors < 0).sum())} standard errors are below 0"


def _parts(table: Table, target: Target) -> Iterator[str]:
    if not target.parts:
        return
    whole = table.points[target.metric].to_numpy(dtype=np.float64)
    columns = [target.metrics[part] for part in target.parts]
    values = table.points[columns].to_numpy(dtype=np.float64)
    summed = values @ np.asarray(list(target.parts.values()))
    off = np.abs(summed - whole) > _PARTS_RTOL * np.maximum(np.abs(whole), 1.0)
    if off.any():
        yield (
            f"target {target.name}: {int(off.sum())} values of {target.metric} are not the sum of "
            f"its parts: trials {_some(table.points.loc[off, 'trial'])}"
        )


def _costs(table: Table) -> Iterator[str]:
    names = ["train_tok", "train_flop"]
    for target in table.header.targets:
        names += [f"eval_tok.{target.name}", f"eval_flop.{target.name}"]
    for name in names:
        values = table.trials[name].to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values) | (values < 0)
        if name == "train_flop":
            bad |= values == 0
        if bad.any():
            floor = "above 0" if name == "train_flop" else "of at least 0"
            yield f"{name}: {int(bad.sum())} values are not finite numbers {floor}"


def _farthest(values: np.ndarray, metric: TableMetric) -> float:
    gap = np.maximum(metric.low - values, values - metric.high)
    return float(values[int(np.argmax(gap))])


def _some(values: pd.Series | pd.Index) -> str:
    seen = list(dict.fromkeys(values.tolist()))
    more = ", ..." if len(seen) > SHOWN else ""
    return ", ".join(str(v) for v in seen[:SHOWN]) + more
