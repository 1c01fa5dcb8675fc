"""Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jobs_bench.errors import OptionError
from jobs_bench.space.axes import Categorical, Float, Int, Subset
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._drawing import nearest, tried, untried
from jobs_bench_strategies._evidence import at_step
from jobs_bench_strategies._extra import wrapped
from jobs_bench_strategies._observing import Observing
from jobs_bench_strategies._spending import Purse, end

_TRIES = 16
_TINY = 1e-12


class Tpe(Observing):
    """Optuna's `TPESampler` at its own defaults, asked and told; every trial is a full run.

    Reference: Bergstra et al. 2011 (NeurIPS), as Optuna has it. A mixture enters as
    ``u_i = exp(-D w_i)`` on ``[0, 1]`` for D domains: independent uniform draws of `u` give
    Dirichlet(1) weights ``-log u_i``, normalised. Trials in flight are told as running (constant
    liar), failed ones with the worst score seen. The sampler is rebuilt from the history at every
    ask. On a pool the nearest untried candidate is taken. Cost of an ask: milliseconds times the
    trials. Needs the extra ``optuna``.

    Args:
        n_startup: Uniform draws before the model, at least 1.
    """

    info = StrategyInfo(
        "tpe",
        "Optuna's tree-structured Parzen estimator at the horizon",
        reference="Bergstra et al. 2011; Akiba et al. 2019 (Optuna)",
    )

    def __init__(self, *, n_startup: int = 10) -> None:
        if n_startup < 1:
            raise OptionError(f"got n_startup={n_startup}; wanted at least 1")
        super().__init__()
        self.n_startup = n_startup
        self._optuna = wrapped("tpe", "optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        super().setup(problem)
        self._axes = distributions(self._optuna.distributions, problem.space)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` full runs."""
        horizon = self.problem.fidelity.horizon
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        study = self._study(ctx)
        work: list[Proposal] = []
        for _ in range(n * _TRIES):
            config = self._next(study, taken) if len(work) < n else None
            if config is None:
                break
            if purse.take(config, 0, horizon):
                taken.add(config)
                work.append(Start(config, horizon))
        return work or [end(ctx)]

    def _study(self, ctx: AskContext) -> Any:
        optuna = self._optuna
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.n_startup, seed=ctx.torch_seed % 2**32
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        evidence = at_step(ctx.history, self.problem.fidelity.horizon)
        configs: list[Configuration] = evidence.configs
        scores = evidence.scores
        if len(scores):
            configs, scores = evidence.with_failures()
        told = [(c, float(s), "COMPLETE") for c, s in zip(configs, scores, strict=True)]
        flying = [(t.config, None, "RUNNING") for t in ctx.history if t.until is not None]
        for config, score, state in [*told, *flying]:
            params = to_params(self.problem.space, config)
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState[state],
                    value=score,
                    params=params,
                    distributions={name: self._axes[name] for name in params},
                )
            )
        return study

    def _next(self, study: Any, taken: Collection[Configuration]) -> Configuration | None:
        config = from_params(self.problem.space, study.ask(self._axes).params)
        if self.problem.candidates is None:
            return config
        left = untried(self.problem, taken)
        return nearest(self.problem.space, config, left) if left else None


def distributions(kinds: Any, space: Space) -> dict[str, Any]:
    """Return Optuna's distributions, one a parameter; mixtures and subsets have several.

    Args:
        kinds: The module ``optuna.distributions``.
        space: To be described.
    """
    found: dict[str, Any] = {}
    for axis in space.axes:
        if isinstance(axis, Simplex):
            for domain in axis.domains:
                found[f"{axis.name}/{domain}"] = kinds.FloatDistribution(0.0, 1.0)
        elif isinstance(axis, Float):
            found[axis.name] = kinds.FloatDistribution(axis.low, axis.high, log=axis.log)
        elif isinstance(axis, Int):
            found[axis.name] = kinds.IntDistribution(axis.low, axis.high, log=axis.log)
        elif isinstance(axis, Categorical):
            found[axis.name] = kinds.CategoricalDistribution(axis.choices)
        elif isinstance(axis, Subset):
            for choice in axis.choices:
                found[f"{axis.name}/{choice}"] = kinds.CategoricalDistribution((False, True))
    return found


def to_params(space: Space, config: Configuration) -> dict[str, Any]:
    """Return the parameters of `config`; those of inactive axes are absent."""
    params: dict[str, Any] = {}
    for axis in space.axes:
        value = config.get(axis.name)
        if value is None:
            continue
        if isinstance(axis, Simplex) and isinstance(value, Mapping):
            n = len(axis.domains)
            params.update({f"{axis.name}/{d}": math.exp(-n * value[d]) for d in axis.domains})
        elif isinstance(axis, Subset) and isinstance(value, tuple):
            params.update({f"{axis.name}/{c}": c in value for c in axis.choices})
        else:
            params[axis.name] = value
    return params


def from_params(space: Space, params: Mapping[str, Any]) -> Configuration:
    """Return the realised configuration of all parameters; inactive ones are dropped."""
    values: dict[str, AxisValue] = {}
    for axis in space.axes:
        if isinstance(axis, Simplex):
            raw = {d: -math.log(max(params[f"{axis.name}/{d}"], _TINY)) for d in axis.domains}
            uniform = dict.fromkeys(axis.domains, 1.0)
            values[axis.name] = Mixture.normalised(raw if sum(raw.values()) > 0 else uniform)
        elif isinstance(axis, Subset):
            on = [0.75 if params[f"{axis.name}/{c}"] else 0.25 for c in axis.choices]
            values[axis.name] = axis.decode(on)
        else:
            values[axis.name] = params[axis.name]
    return space.build(values)
