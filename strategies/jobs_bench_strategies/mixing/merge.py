"""Merge: one short adapter a domain, mixtures of them scored without training, one full run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._engine import engine_called
from jobs_bench_strategies._observing import finite_score
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._spending import SLACK, Purse
from jobs_bench_strategies._surrogate import LogEI, Surrogate
from jobs_bench_strategies.mixing._corners import CornerMethod
from jobs_bench_strategies.mixing._method import PHASE, phase_of, shares
from jobs_bench_strategies.mixing._swarm import realised

PLAIN: Final = ("lora", "rslora")
"""Methods whose adapter is a sum that adds up."""
_POINTS = 256  # candidates of each kind
_SPARSE = 0.3  # Dirichlet concentration of candidates near edges and corners
_NEAR = 30.0  # concentration of those around the best one
_LEAST = 1e-3  # smaller coefficients are left out


class Merge(CornerMethod):
    """Searches mixtures among merged adapters, and trains on the mixture of the best one.

    Reference: MergeMix (arXiv 2601.17858) and Merge to Mix (arXiv 2505.16066). The model
    ``theta_0 + sum_i c_i (theta_i - theta_0)``, with theta_i trained shortly on domain i alone,
    stands in for a model trained on the mixture c; the two differ in second order, by what domains
    do to each other. A candidate thus costs one scoring. What differs: the adapters are LoRA and
    their *updates* are added up (ranks side by side), which is exact, while averaging the factors
    is not; candidates are equal shares, then the largest expected improvement (LogEI) of a Gaussian
    process over mixtures among random ones, in place of MergeMix's regression on a fixed design;
    the mixture with the highest posterior mean among those scored is trained. Where the space has
    floors or caps, a proxy run is as near to a single domain as they allow, and a mixture is the
    mix of those. The recipe stays at the default. Not for finite pools: their rows are not sums.

    Cost: k short runs, `evaluations` scorings and one full run; an ask takes some 10 ms.

    Args:
        short: Length of a proxy run as a share of the horizon, ``(0, 1]``.
        evaluations: Merged adapters that are scored, at least 1.
    """

    info = StrategyInfo(
        "merge",
        "One short adapter a domain, and a search among their exact merges, scored untrained",
        blocks=("data",),
        needs=frozenset({"merge"}),
        reference="MergeMix, arXiv 2601.17858; Merge to Mix, arXiv 2505.16066",
    )

    def __init__(self, *, short: float = 0.25, evaluations: int = 20) -> None:
        if evaluations < 1:
            raise OptionError(f"got evaluations={evaluations}; wanted at least 1")
        super().__init__(short)
        self.evaluations = evaluations

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task cannot merge, is a finite pool, or its default recipe trains
                no plain low-rank adapter; its space has no mixture, or several.
            OptionError: The budget does not pay for proxies, scorings and a full run.
        """
        method = problem.default.get("method", "lora")
        if "merge" not in problem.capabilities:
            raise CapabilityError(
                f"merge needs merge; the task gives "
                f"{', '.join(sorted(problem.capabilities)) or 'nothing'}"
            )
        if problem.candidates is not None:
            raise CapabilityError(
                f"got a pool of {len(problem.candidates)} recorded candidates; merge wants a task "
                "that scores any mixture"
            )
        if method not in PLAIN:
            raise CapabilityError(
                f"merge adds up adapters of {' or '.join(PLAIN)}; the default recipe has {method!r}"
            )
        super().setup(problem)
        corner = problem.cost(problem.default, 0, self._until)
        scoring = problem.cost(problem.default, self._until, self._until)
        wanted = problem.full_cost() + self._n * corner + self.evaluations * scoring
        if wanted > problem.budget.limit * (1 + 1e-9):
            raise OptionError(
                f"got evaluations={self.evaluations} and short={self.short:g}; beside a full run "
                f"they cost {wanted:.4g}{problem.budget.currency}, of a budget of {problem.budget}"
            )
        self._encoding = NativeEncoding(problem.space)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return proxy runs, then merged trials, then the full run of the best mixture."""
        return self._merges(n, ctx) or super().ask(n, ctx)

    def derive(self, proxies: Sequence[TrialRecord]) -> np.ndarray:
        """Return the mixture with the highest posterior mean, merged or of a proxy."""
        known = self._scored([*proxies, *(t for t in self.seen if t.merge)])
        model = self._model(known)
        if model is None:  # no merged adapter has a score, and one proxy
            return np.asarray(shares(known[0].config, self._simplex))
        mean, _ = model.predict(self._encoding.encode_all([t.config for t in known]))
        return np.asarray(shares(known[int(mean.argmax())].config, self._simplex))

    def _merges(self, n: int, ctx: AskContext) -> list[Proposal]:
        """Return merged trials; none before the proxies are over or once all were scored."""
        proxies = [t for t in ctx.history if phase_of(t) == "proxy"]
        before = [t for t in ctx.history if t.merge]
        running = any(t.until is not None for t in ctx.history)
        left = self.evaluations - len(before)
        parents = [t for t in self._scored(proxies) if t.step == self._until and not t.retired]
        if len(proxies) < self._n or running or left < 1 or len(parents) < self.fewest:
            return []
        purse = Purse(self.problem, ctx)
        purse.left -= (1 + SLACK) * self.problem.full_cost() * (1 - 1e-9)  # it keeps its slack
        known = self._scored([*parents, *before])
        taken = {t.config for t in (*proxies, *before)}
        believed: list[Configuration] = []
        work: list[Proposal] = []
        for _ in range(min(n, left)):
            found = self._next(parents, known, believed, taken, ctx)
            if found is None or not purse.take(found[1], self._until, self._until):
                break
            coefficients, config = found
            taken.add(config)
            believed.append(config)
            pairs = zip(parents, coefficients.tolist(), strict=True)
            merge = tuple((t.trial_id, c) for t, c in pairs if c > 0)
            work.append(Start(config, self._until, {PHASE: "merge"}, merge=merge))
        return work

    def _next(
        self,
        parents: Sequence[TrialRecord],
        known: Sequence[TrialRecord],
        believed: Sequence[Configuration],
        taken: set[Configuration],
        ctx: AskContext,
    ) -> tuple[np.ndarray, Configuration] | None:
        """Return coefficients ``(p,)`` to score next with their configuration, if any are left.

        Args:
            parents: What can be merged, p trials.
            known: Trials with a score at the proxy step.
            believed: Picked in this ask already.
            taken: Not to be scored again.
            ctx: Of the ask.
        """
        corners = self.weights(parents)
        equal = np.full(len(parents), 1 / len(parents))
        config = self._config(realised(self._simplex, equal @ corners))
        if config not in taken:
            return equal, config
        best = max(known, key=self._score)
        share = dict(best.merge or ((best.trial_id, 1.0),))
        pool = _candidates(np.asarray([share.get(t.trial_id, 0.0) for t in parents]), ctx.rng)
        made = [(c, self._config(realised(self._simplex, c @ corners))) for c in pool]
        fresh = [(c, config) for c, config in made if config not in taken]
        model = self._model(known)
        if not fresh or model is None:
            return None
        with quiet(ctx.torch_seed % 2**31):
            if believed:
                model = model.believing(self._encoding.encode_all(believed))
            rows = self._encoding.encode_all([t.config for t in known])
            landscape = model.landscape(LogEI(model.best_mean(rows)), self._encoding)
            values = landscape.values(self._encoding.encode_all([config for _, config in fresh]))
        return fresh[int(np.argmax(values))]

    def _scored(self, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
        return [t for t in trials if t.ok and finite_score(t, self._until) is not None]

    def _score(self, trial: TrialRecord) -> float:
        score = trial.score_at(self._until)
        assert score is not None  # `_scored` chose it
        return score

    def _model(self, trials: Sequence[TrialRecord]) -> Surrogate | None:
        """Return the process over scores at the proxy step, ``None`` below two."""
        if len(trials) < 2:
            return None
        rows = self._encoding.encode_all([t.config for t in trials])
        scores = np.asarray([self._score(t) for t in trials])
        return engine_called("native")(rows, scores, "product", self._encoding)


def _candidates(best: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return coefficients ``(n, p)`` all over the simplex, near its edges, and around `best`."""
    p = len(best)
    drawn = np.concatenate(
        [
            rng.dirichlet(np.ones(p), _POINTS),
            rng.dirichlet(np.full(p, _SPARSE), _POINTS),
            rng.dirichlet(_NEAR * best + _SPARSE, _POINTS),
        ]
    )
    drawn[drawn < _LEAST] = 0.0
    found: np.ndarray = drawn / drawn.sum(axis=1, keepdims=True)
    return found
