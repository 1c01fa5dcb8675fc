"""`jobs`: short runs that go on where they promise most, judged by calibrated predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError, UnknownNameError
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.simplex import Simplex
from jobs_bench.strategy.contract import (
    Artifact,
    AskContext,
    Problem,
    Recommendation,
    StrategyInfo,
)
from jobs_bench.strategy.history import History
from jobs_bench.trial import Note, Outcome, Proposal, Resume, Start
from jobs_bench_strategies import _drawing
from jobs_bench_strategies._acquire import best_few
from jobs_bench_strategies._evidence import best_first
from jobs_bench_strategies._observing import best_observed, default_config
from jobs_bench_strategies._offers import Offer
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies._surrogate import LogEI
from jobs_bench_strategies.jobs.beliefs import Beliefs, Believer, How
from jobs_bench_strategies.jobs.explain import explain
from jobs_bench_strategies.jobs.predictors import CANDIDATES
from jobs_bench_strategies.jobs.recommend import by_posterior
from jobs_bench_strategies.jobs.split import Pilots, Verdict, most_pilots
from jobs_bench_strategies.jobs.value import log_values
from jobs_bench_strategies.mixing.dsir import likeness

_RUNGS = 6  # steps considered at most, a factor of about two apart
_ANCHORS = 4
_NEW = 8  # new configurations weighed at each ask
_OLD = 8  # paused trials weighed at each ask
_SHORT = 1 / 8  # of the horizon: length of the first runs, as in the paper
_PHASE = "phase"
_DESIGN = 1 / 3  # of the budget at most for points that no model chose


class Jobs:
    """Short runs, continuations and full runs, whichever promises most for its cost.

    Reference: this project, from Chen et al. 2026 (arXiv 2602.08351), Swersky et al. 2014 (pausing
    and thawing), Wu et al. 2019 (fidelity kernel) and Frazier et al. 2008 (knowledge gradient).
    What JoBS is kept for: short runs stand in for full ones, a predictor learns from trials at the
    horizon what short runs are worth, and mixture and configuration are searched together. What is
    different:

    - *Predictions are not truth.* At each rung a predictor (carry forward, ridge on the history,
      power law, Gaussian process, perceptron) is chosen by leave-one-out rank correlation, or
      abstains (`choice`). Its error, held out, enters the process: partly as noise of its own,
      partly as a deviation that neighbours share, so that a hundred short runs that mislead alike
      do not outvote one full run (`beliefs`).
    - *Runs are continued.* Each ask weighs new short runs, new full runs and every continuation of
      paused trials by expected gain of the recommendation for each unit of expected cost
      (`value`). Where short runs tell little, full runs win, and `jobs` is Bayesian optimisation.
    - *Pilots are as many as they are worth*: two of the most promising short runs are taken to the
      horizon at once, more while the regret bound asks for them (`theory`, `split`).
    - Where the score is a sum of parts, such as losses of domains, each part has a process of its
      own, and they are added up.
    - The default recipe, the mixture of the rows that look like the target (DSIR, Xie et al. 2023,
      where the task has the capability ``texts``) and the uniform mixture come first; costs are
      those of each configuration.
    - It recommends the highest posterior mean among what was trained to the horizon; a shorter
      trial only if its lower bound beats all of these.

    Cost of an ask: about 25 ms in a study of 25 full runs (190 asks); where 50 trials that went to
    the horizon are told at once, half a second (fits of the perceptron), 4 s for 200.

    Args:
        n_init: Short runs of the initial design (at most a third of the budget), at least 1.
        n_pilot: Trials to take to the horizon before the search; 0: two, and then as many as the
            bound asks for.
        predictor: Name of the only predictor; empty: the best by leave-one-out.
        calibrated: False takes predictions for truth.
        resume: False restarts trials instead of continuing them.
        cost_aware: False counts every segment alike.
        warm: False leaves out default recipe, mixture of rows like the target, uniform mixture.
        texts: False does without reading what rows and questions say.
        recommend: ``posterior``, or ``observed``: the best score seen.
        parts: Where the task declares the score a sum of parts (domain losses), model each of them;
            False models the sum.
    """

    info = StrategyInfo(
        "jobs",
        "Short runs judged by calibrated curve predictions, continued where they promise most",
        needs=frozenset({"resume", "curves"}),
        reference="This project, after Chen et al. 2026, arXiv 2602.08351",
    )

    def __init__(
        self,
        *,
        n_init: int = 8,
        n_pilot: int = 0,
        predictor: str = "",
        calibrated: bool = True,
        resume: bool = True,
        cost_aware: bool = True,
        warm: bool = True,
        texts: bool = True,
        recommend: str = "posterior",
        parts: bool = True,
    ) -> None:
        if n_init < 1:
            raise OptionError(f"got n_init={n_init}; wanted at least 1")
        if n_pilot < 0:
            raise OptionError(f"got n_pilot={n_pilot}; wanted at least 1, or 0 to adapt it")
        if predictor and predictor not in CANDIDATES:
            raise UnknownNameError("predictor", predictor, CANDIDATES)
        if recommend not in ("posterior", "observed"):
            raise UnknownNameError("recommend", recommend, ("posterior", "observed"))
        self.n_init = n_init
        self.n_pilot = n_pilot
        self.resume = resume
        self.cost_aware = cost_aware
        self.warm = warm
        self.texts = texts
        self.recommends = recommend
        self.parts = parts
        self._how = How(predictor, calibrated)
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task cannot resume a trial.
            OptionError: The budget cannot pay for `n_pilot` full runs.
        """
        if "resume" not in problem.capabilities:
            raise CapabilityError("jobs needs a task that can resume trials; this one cannot")
        runs = problem.budget.limit / problem.full_cost()
        if self.n_pilot > runs * (1 + 1e-9):
            raise OptionError(
                f"got n_pilot={self.n_pilot}; wanted at most the {runs:.4g} full runs that "
                f"{problem.budget} pays for"
            )
        self.problem = problem
        self.seen = History()
        self._encoding = NativeEncoding(problem.space)
        self._steps = problem.fidelity.rungs(2.0)[-_RUNGS:]
        self._horizon = self._steps[-1]
        self._short = next(s for s in self._steps if s >= _SHORT * self._horizon)
        share = problem.cost(problem.default, 0, self._short) / problem.full_cost()
        self._n_init = max(1, min(self.n_init, int(_DESIGN * runs / share)))
        how = dataclasses.replace(self._how, parts=problem.parts if self.parts else ())
        self._known = self._recipes()
        self._believer = Believer(self._encoding, self._steps, how)
        self._pilots = Pilots(problem, self._steps, self._short)
        self._told: list[Outcome] = []
        self._beliefs: tuple[int, Beliefs] | None = None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)
        self._told.extend(outcomes)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` segments."""
        purse = Purse(self.problem, ctx)
        seed = _drawing.sobol_seed(ctx)
        taken = _drawing.tried(ctx.history)
        busy = {t.trial_id for t in ctx.history if t.until is not None or t.retired}
        if not self.resume:
            busy |= {int(o) for t in ctx.history if isinstance(o := t.note.get("of"), int)}
        believed = [(t.config, t.until) for t in ctx.history if t.until is not None]
        work: list[Proposal] = []
        for i in range(n):
            started = len(ctx.history) + sum(isinstance(p, Start) for p in work)
            phase = "design"
            offer = self._first(started, taken, purse, seed)
            if offer is None:
                phase = "pilot"
                offer = self._pilot(believed, busy, purse)
            if offer is None:
                phase = "search"
                offer = self._next(believed, busy, taken, purse, ctx.torch_seed + i)
            if offer is None:
                break
            purse.take(offer.config, offer.start, offer.until)
            believed.append((offer.config, offer.until))
            note: Note = {_drawing.SOBOL_SEED: seed, _PHASE: phase}
            if offer.trial_id is None:
                taken.add(offer.config)
                work.append(Start(offer.config, offer.until, note))
            else:
                busy.add(offer.trial_id)
                again = {**note, "of": offer.trial_id}
                work.append(
                    Resume(offer.trial_id, offer.until, {_PHASE: phase})
                    if self.resume
                    else Start(offer.config, offer.until, again)
                )
        return work or [end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the highest posterior mean among what was trained to the horizon."""
        beliefs = self._believe()
        if beliefs.model is None or self.recommends == "observed":
            return best_observed(self.problem, self.seen)
        return by_posterior(beliefs, self._horizon)

    def artifacts(self) -> Sequence[Artifact]:
        """Return how the budget was split, what predictors were worth, and the bound."""
        beliefs = self._believe()
        return explain(beliefs, self._decide(beliefs), self._horizon)

    def _believe(self) -> Beliefs:
        if self._beliefs is None or self._beliefs[0] != len(self._told):
            self._beliefs = (len(self._told), self._believer(self.seen))
        return self._beliefs[1]

    def _decide(self, beliefs: Beliefs) -> Verdict:
        if self.n_pilot:
            return Verdict(self.n_pilot, f"{self.n_pilot} pilots, as was asked for")
        return self._pilots(beliefs)

    def _first(
        self, started: int, taken: set[Configuration], purse: Purse, seed: int
    ) -> Offer | None:
        """Return a run of the initial design: known recipes, then Sobol points.

        The first is trained in full; all others are short.
        """
        if started >= self._n_init:
            return None
        known = [c for c in self._known if c not in taken] if self.warm else []
        config = known[0] if known else _drawing.sobol(self.problem, seed, started, taken)
        if config is None:
            return None
        longest = self._horizon if started == 0 else self._short
        fits = [s for s in self._steps if s <= longest and purse.affords(config, 0, s)]
        return self._offer(config, 0, fits[-1]) if fits else None

    def _recipes(self) -> list[Configuration]:
        """Return the default recipe and, in an open space, the same with mixtures that are known.

        Those of the rows that look like the target, where they can be read, and the uniform one.
        """
        first, problem = default_config(self.problem), self.problem
        if problem.candidates is not None:
            return [first]
        read = problem.texts() if self.warm and self.texts and problem.texts else None
        alike: dict[str, AxisValue] = {}
        uniform: dict[str, AxisValue] = {}
        for axis in problem.space.simplexes:
            uniform[axis.name] = _mixture(axis, np.ones(len(axis.domains)))
            if read is not None and set(axis.domains) <= set(read.domains):
                alike[axis.name] = _mixture(axis, likeness(read, axis.domains))
        return list(dict.fromkeys([first, first.with_(alike), first.with_(uniform)]))

    def _next(
        self,
        believed: Sequence[tuple[Configuration, int]],
        busy: set[int],
        taken: set[Configuration],
        purse: Purse,
        seed: int,
    ) -> Offer | None:
        """Return what promises most for its cost."""
        beliefs = self._believe()
        if beliefs.model is None:
            return self._blind(taken, purse, seed)
        mean, sd = beliefs.at_the_horizon()
        done = [m for m, (_, at) in zip(mean, beliefs.standing, strict=True) if at == self._horizon]
        incumbent = float(max(done, default=mean.max()))
        offers: list[Offer] = []
        for i in sorted(self._paused(beliefs, busy), key=lambda i: -(mean[i] + sd[i]))[:_OLD]:
            trial = beliefs.trials[i]
            offers += self._ways(trial.config, trial.step, purse, trial.trial_id)
        model = beliefs.model.believing(beliefs.rows(believed))
        informed = dataclasses.replace(beliefs, model=model)
        if self._may_start(beliefs, purse):
            landscape = model.landscape(
                LogEI((incumbent - model.scale.mean) / model.scale.sd), self._encoding, (1.0,)
            )
            anchors = best_first([t.config for t in beliefs.trials], mean)[:_ANCHORS]
            for config in best_few(
                landscape,
                self.problem,
                seed,
                anchors,
                lambda c: c not in taken and purse.affords(c, 0, self._horizon),
                _NEW,
            ):
                offers += self._ways(config, 0, purse)
        if not offers:
            return None
        values = log_values(informed, offers, incumbent, cost_aware=self.cost_aware)
        return offers[int(values.argmax())]

    def _may_start(self, beliefs: Beliefs, purse: Purse) -> bool:
        """Return whether a new trial could be paid for, going by the costs of those there are."""
        cost = self.problem.cost
        cheapest = min(cost(t.config, 0, self._horizon) for t in beliefs.trials)
        return purse.left >= 0.5 * cheapest

    def _blind(self, taken: set[Configuration], purse: Purse, seed: int) -> Offer | None:
        """Return a short run of another point where nothing can be learnt from yet."""
        config = _drawing.sobol(self.problem, seed % 2**31, len(taken), taken)
        fits = [s for s in self._steps if config and purse.affords(config, 0, s)]
        if config is None or not fits:
            return None
        return self._offer(config, 0, min(self._short, fits[-1]))

    def _paused(self, beliefs: Beliefs, busy: set[int]) -> list[int]:
        """Return which of the trials could go on."""
        return [
            i
            for i, (trial, at) in enumerate(beliefs.standing)
            if at < self._horizon and trial.trial_id not in busy and trial.step == at
        ]

    def _pilot(
        self, believed: Sequence[tuple[Configuration, int]], busy: set[int], purse: Purse
    ) -> Offer | None:
        """Return the continuation of the most promising paused trial while pilots are wanted."""
        beliefs = self._believe()
        if beliefs.model is None:
            return None
        under_way = sum(until == self._horizon for _, until in believed)
        full = len(beliefs.at_horizon) + under_way
        most = self.n_pilot or most_pilots(self.problem)
        if full >= most or full >= self._decide(beliefs).wanted:
            return None
        mean, _ = beliefs.at_the_horizon()
        for i in sorted(self._paused(beliefs, busy), key=lambda i: -mean[i]):
            trial = beliefs.trials[i]
            start = trial.step if self.resume else 0
            if purse.affords(trial.config, start, self._horizon):
                return self._offer(trial.config, start, self._horizon, trial.trial_id)
        return None

    def _ways(
        self, config: Configuration, step: int, purse: Purse, trial_id: int | None = None
    ) -> list[Offer]:
        """Return the segments beyond `step`; none where the whole way cannot be paid for."""
        start = step if self.resume else 0
        if not purse.affords(config, start, self._horizon):
            return []
        return [self._offer(config, start, s, trial_id) for s in self._steps if s > step]

    def _offer(
        self, config: Configuration, start: int, until: int, trial_id: int | None = None
    ) -> Offer:
        cost = self.problem.cost
        begin = until if self.resume else 0
        rest = cost(config, begin, self._horizon) if until < self._horizon else 0.0
        return Offer(config, start, until, cost(config, start, until), rest, trial_id)


def _mixture(axis: Simplex, shares: np.ndarray) -> Mixture:
    return axis.realise(Mixture.normalised(dict(zip(axis.domains, shares.tolist(), strict=True))))
