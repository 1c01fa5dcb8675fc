"""The loop of the multi-fidelity strategies: a design, then what the process asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jobs_bench.errors import CapabilityError
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.strategy.history import History
from jobs_bench.trial import Outcome, Proposal, Resume, Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._engine import EngineName, engine_called
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies._step_model import Fit, StepModel, check_steps
from jobs_bench_strategies._surrogate import Surrogate


class StepSearch(ABC):
    """A design, then segments that a process of configuration and step asks for.

    A subclass says which (`_best`). Segments in flight are taken for measured at their posterior
    mean.

    Args:
        n_init: Trials before the model, ``[1, inf)``; see `StepModel`.
        eta: Distance of the steps considered, as a factor, above 1.
        levels: How many steps are considered, the horizon among them, ``[1, inf)``.
        engine: What computes the process: ``native`` or ``botorch``.

    Raises:
        OptionError: One of them is out of its range.
    """

    info: StrategyInfo

    def __init__(self, n_init: int, eta: float, levels: int, engine: EngineName) -> None:
        check_steps(n_init, eta, levels)
        self.n_init = n_init
        self.eta = eta
        self.levels = levels
        self._surrogate = engine_called(engine)
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task cannot resume a trial.
        """
        if "resume" not in problem.capabilities:
            raise CapabilityError(
                f"{self.info.name} needs a task that can resume trials; this one cannot"
            )
        self.problem = problem
        self.seen = History()
        self._steps = StepModel(problem, self.n_init, self.eta, self.levels, self._surrogate)
        self._told = 0

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)
        self._told += len(outcomes)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` segments."""
        purse = Purse(self.problem, ctx)
        seed = _drawing.sobol_seed(ctx)
        taken = _drawing.tried(ctx.history)
        busy = {t.trial_id for t in ctx.history if t.until is not None or t.retired}
        believed = [(t.config, t.until) for t in ctx.history if t.until is not None]
        fit = self._fit()
        work: list[Proposal] = []
        for i in range(n):
            started = len(ctx.history) + sum(isinstance(p, Start) for p in work)
            proposal: Start | Resume | None
            if fit.model is None or started < self._steps.n_init:
                proposal = self._steps.initial(taken, purse, seed, started)
            else:
                model = fit.model.believing(self._steps.rows(believed))
                proposal = self._best(model, fit, busy, taken, purse, ctx.torch_seed + i)
            if proposal is None:
                break
            if isinstance(proposal, Resume):
                busy.add(proposal.trial_id)
                trial = ctx.history[proposal.trial_id]
                config, begin = trial.config, trial.step
            else:
                config, begin = proposal.config, 0
                taken.add(config)
                proposal = Start(config, proposal.until, {_drawing.SOBOL_SEED: seed})
            purse.take(config, begin, proposal.until)
            believed.append((config, proposal.until))
            work.append(proposal)
        return work or [end(ctx)]

    def _fit(self) -> Fit:
        """Return the model of what was told."""
        return self._steps.fit(self.seen, self._told)

    @abstractmethod
    def _best(
        self,
        model: Surrogate,
        fit: Fit,
        busy: set[int],
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> Start | Resume | None:
        """Return the next segment, ``None`` where nothing can be paid for.

        Args:
            model: Of what was told and what is in flight.
            fit: What it was made of.
            busy: Trials that are in flight or given up.
            taken: Configurations that are not to be started again.
            purse: What may be spent.
            seed: Of searches.
        """
