"""Bayesian optimisation over the joint space at the horizon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jobs_bench.errors import OptionError, UnknownNameError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.history import History
from jobs_bench.trial import Outcome, Proposal, Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._acquire import maximise
from jobs_bench_strategies._engine import EngineName, engine_called
from jobs_bench_strategies._evidence import Evidence, at_step, best_first
from jobs_bench_strategies._gp_botorch import BotorchSurrogate
from jobs_bench_strategies._observing import Z95, best_observed, default_config
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies._surrogate import Landscape, LogEI, NoisyEI, Surrogate, Ucb, caveat

_ACQUISITIONS = ("log_ei", "ucb", "noisy_ei")
_TRIES = 16
_ANCHORS = 4


class Bo:
    """Gaussian process with log expected improvement; every trial is trained to the horizon.

    Reference: LogEI of Ament et al. 2023; priors of Hvarfner et al. 2024. What is ours: the
    kernel is Matern-5/2 over square-root mixture weights, floats and integers, times a Hamming
    kernel over categories and flags; the incumbent's value is the best posterior mean, not the
    best observation, since scores are noisy; the optimiser handles integers and names by local
    search, and what it finds is scored as it would be trained. Several workers: points in
    flight and earlier picks of a batch are taken for measured at their posterior mean (kriging
    believer), which is deterministic and needs no fantasies; `noisy_ei` integrates over them.
    Failed configurations enter with the worst score seen. Cost of an ask: some 10 ms at 50 trials
    (1.5 s with ``engine=botorch``), growing with the cube of the trials. Not a method for thousands
    of trials.

    Args:
        n_init: Trials before the model: the default recipe, then Sobol points. At most half of the
            runs that the budget pays for (but 2) are spent so.
        engine: What computes the process: ``native``, this package's operators, or ``botorch``.
        acquisition: ``log_ei``; ``ucb``, mean plus ``sqrt(beta)`` standard deviations; or
            ``noisy_ei``, BoTorch's qLogNEI by 128 draws (Balandat et al. 2020), with
            ``engine=botorch`` only.
        beta: Of ``ucb``, above 0.
    """

    info = StrategyInfo(
        "bo",
        "Gaussian process with LogEI over mixture and configuration at the horizon",
        reference="Ament et al. 2023 (LogEI); Hvarfner et al. 2024 (priors)",
    )

    def __init__(
        self,
        *,
        n_init: int = 6,
        engine: EngineName = "native",
        acquisition: Literal["log_ei", "ucb", "noisy_ei"] = "log_ei",
        beta: float = 4.0,
    ) -> None:
        if n_init < 1:
            raise OptionError(f"got n_init={n_init}; wanted at least 1")
        if acquisition not in _ACQUISITIONS:
            raise UnknownNameError("acquisition", acquisition, _ACQUISITIONS)
        if acquisition == "noisy_ei" and engine != "botorch":
            raise OptionError(
                f"got acquisition=noisy_ei with engine={engine}; wanted engine=botorch for it"
            )
        if not (math.isfinite(beta) and beta > 0):
            raise OptionError(f"got beta={beta}; wanted a number above 0")
        self.n_init = n_init
        self.acquisition = acquisition
        self.beta = beta
        self._surrogate = engine_called(engine)
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        self.problem = problem
        self.seen = History()
        self._encoding = NativeEncoding(problem.space)
        runs = problem.budget.limit / problem.full_cost()
        self._n_init = min(self.n_init, max(2, int(runs / 2)))
        self._told = 0
        self._fitted: tuple[int, Evidence, Surrogate | None] | None = None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)
        self._told += len(outcomes)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` full runs."""
        purse = Purse(self.problem, ctx)
        taken = _drawing.tried(ctx.history)
        believed = [t.config for t in ctx.history if t.until is not None]
        sobol_seed = _drawing.sobol_seed(ctx)
        horizon = self.problem.fidelity.horizon
        work: list[Proposal] = []
        for i in range(n):
            _, model = self._fit()
            started = len(ctx.history) + i
            if model is None or started < self._n_init:
                config = self._initial(taken, purse, sobol_seed, started)
            else:
                config = self._modelled(model, believed, taken, purse, ctx.torch_seed + i)
            if config is None or not purse.take(config, 0, horizon):
                break
            taken.add(config)
            believed.append(config)
            work.append(Start(config, horizon, {_drawing.SOBOL_SEED: sobol_seed}))
        return work or [end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the trained configuration with the highest posterior mean at the horizon."""
        evidence, model = self._fit()
        if model is None:
            return best_observed(self.problem, self.seen)
        mean, sd = model.predict(self._encoding.encode_all(evidence.configs))
        at = int(mean.argmax())
        return Recommendation(
            evidence.configs[at],
            float(mean[at]),
            float(mean[at] - Z95 * sd[at]),
            float(mean[at] + Z95 * sd[at]),
            f"highest posterior mean among {len(mean)} trials at the horizon{caveat(model)}",
            evidence.trials[at].trial_id,
        )

    def _fit(self) -> tuple[Evidence, Surrogate | None]:
        """Return the evidence and the model of it, ``None`` below two scores; once per tell."""
        if self._fitted is None or self._fitted[0] != self._told:
            evidence = at_step(self.seen, self.problem.fidelity.horizon)
            model = None
            if len(evidence.scores) >= 2:
                configs, scores = evidence.with_failures()
                rows = self._encoding.encode_all(configs)
                model = self._surrogate(rows, scores, "product", self._encoding)
            self._fitted = (self._told, evidence, model)
        return self._fitted[1], self._fitted[2]

    def _initial(
        self, taken: set[Configuration], purse: Purse, seed: int, started: int
    ) -> Configuration | None:
        horizon = self.problem.fidelity.horizon
        first = default_config(self.problem)
        if first not in taken and purse.affords(first, 0, horizon):
            return first
        for index in range(started, started + _TRIES):
            config = _drawing.sobol(self.problem, seed, index, taken)
            if config is None or purse.affords(config, 0, horizon):
                return config
        return None

    def _modelled(
        self,
        model: Surrogate,
        believed: list[Configuration],
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> Configuration | None:
        evidence, _ = self._fit()
        rows = self._encoding.encode_all(evidence.configs)
        mean, _ = model.predict(rows)
        horizon = self.problem.fidelity.horizon
        return maximise(
            self._landscape(model, rows, believed),
            self.problem,
            seed,
            best_first(evidence.configs, mean)[:_ANCHORS],
            lambda c: c not in taken and purse.affords(c, 0, horizon),
        )

    def _landscape(
        self, model: Surrogate, rows: np.ndarray, believed: list[Configuration]
    ) -> Landscape:
        pending = self._encoding.encode_all(believed)
        if isinstance(model, BotorchSurrogate) and self.acquisition == "noisy_ei":
            return model.landscape(NoisyEI(rows, pending), self._encoding)
        informed = model.believing(pending)
        goal = Ucb(self.beta) if self.acquisition == "ucb" else LogEI(informed.best_mean(rows))
        return informed.landscape(goal, self._encoding)
