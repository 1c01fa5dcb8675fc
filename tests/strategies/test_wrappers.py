"""Wrappers search their blocks alone, whatever they wrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from jobs_bench.errors import CapabilityError, OptionError, SpaceError
from jobs_bench.runner.machine import Machine
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import AskContext
from jobs_bench.testing.strategy_contract import check_strategy
from jobs_bench.testing.synthetic import Synthetic, conditional_space, pool, small_space
from jobs_bench.trial import Outcome, Proposal, Start, Value
from jobs_bench_strategies.alternating import Alternating
from jobs_bench_strategies.block_only import DataOnly, ModelOnly
from jobs_bench_strategies.independent import Independent
from jobs_bench_strategies.mixing.regmix import RegMix
from jobs_bench_strategies.random import Random
from jobs_bench_strategies.repeat import Repeat, _mean
from jobs_bench_strategies.rungs.hyperband import Hyperband
from jobs_bench_strategies.sobol import Sobol

Study = Callable[..., Machine]
BASES = [Random, Sobol, Hyperband]


def _data(config: Configuration) -> object:
    return config["mixture"]


def _rest(config: Configuration) -> dict[str, object]:
    return {n: v for n, v in config.items() if n != "mixture"}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("space", [small_space(), conditional_space()])
def test_each_searches_its_blocks(base: type[Random], space: Space, study: Study) -> None:
    default = space.default()
    task = Synthetic(space)
    data = study(DataOnly(base=base), task, "3x")
    assert len({_data(t.config) for t in data.history}) > 1
    assert all(_rest(t.config) == _rest(default) for t in data.history)
    model = study(ModelOnly(base=base), task, "3x")
    assert len({str(_rest(t.config)) for t in model.history}) > 1
    assert all(_data(t.config) == _data(default) for t in model.history)
    assert data.recommendation is not None
    assert _rest(data.recommendation.config) == _rest(default)


@pytest.mark.parametrize("base", BASES)
def test_independent_spends_half_on_each_and_combines(base: type[Random], study: Study) -> None:
    task = Synthetic()
    default = task.space.default()
    machine = study(Independent(base=base), task, "8x")
    first = [t for t in machine.history if t.notes[0]["view"] == "data"]
    second = [t for t in machine.history if t.notes[0]["view"] == "model"]
    assert all(_rest(t.config) == _rest(default) for t in first)
    assert all(_data(t.config) == _data(default) for t in second)
    problem = task.problem("8x")
    spent = sum(problem.cost(t.config, 0, t.step) for t in first)
    assert spent == pytest.approx(4.0, abs=0.7)
    assert max(t.trial_id for t in first) < min(t.trial_id for t in second)
    found = machine.recommendation
    assert found is not None
    assert found.config["mixture"] in {_data(t.config) for t in first}
    assert _rest(found.config) in [_rest(t.config) for t in second]


def test_alternating_holds_the_incumbent(study: Study) -> None:
    task = Synthetic()
    machine = study(Alternating(base=Random, switch_every=2.0), task, "8x")
    phases: dict[object, list[Configuration]] = {}
    for trial in machine.history:
        phases.setdefault(trial.notes[0]["phase"], []).append(trial.config)
    assert list(phases) == [0, 1, 2, 3]
    seen: list[Configuration] = []
    for number, configs in phases.items():
        held = _rest if number in (0, 2) else _data
        assert len({str(held(c)) for c in configs}) == 1
        if number:
            assert held(configs[0]) in [held(c) for c in seen]
        seen += configs


def test_one_trial_serves_both_halves(study: Study) -> None:
    class FirstDefault(Random):
        def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
            if any(t.config == self.problem.default for t in ctx.history):
                return super().ask(n, ctx)
            return [Start(self.problem.default, 81)]

    task = Synthetic()
    machine = study(Independent(base=FirstDefault), task, "6x")
    assert sum(t.config == task.space.default() for t in machine.history) == 1


@pytest.mark.parametrize("make", [DataOnly, Independent, Alternating])
def test_needs_a_data_block(make: Callable[..., DataOnly]) -> None:
    space = Space(tuple(a for a in small_space().axes if a.block != "data"))
    with pytest.raises(SpaceError, match="data"):
        make(base=Random).setup(Synthetic(space).problem())


def test_a_pool_must_vary_the_block() -> None:
    candidates = pool(small_space(), 5, 1)
    task = Synthetic(candidates=candidates)
    DataOnly(base=Random).setup(task.problem())
    with pytest.raises(CapabilityError, match="at least 2"):
        ModelOnly(base=Random).setup(task.problem())


def test_the_name_says_what_is_wrapped() -> None:
    wrapped = Alternating(base=Hyperband)
    assert wrapped.info.name == "alternating(hyperband)"
    assert wrapped.info.needs == {"resume"}
    assert DataOnly(base=Random).info.blocks == ("data",)


def test_each_side_may_have_its_own_strategy(study: Study) -> None:
    task = Synthetic()
    default = task.space.default()
    strategy = Independent(data=RegMix, model=Hyperband)
    assert strategy.info.name == "independent(data=regmix, model=hyperband)"
    machine = study(strategy, task, "16x")
    first = [t for t in machine.history if t.notes[0]["view"] == "data"]
    second = [t for t in machine.history if t.notes[0]["view"] == "model"]
    assert len({_data(t.config) for t in first}) > 4
    assert all(_rest(t.config) == _rest(default) for t in first)
    assert {t.step for t in second} <= set(machine.problem.fidelity.rungs(3.0))
    turns = study(Alternating(data=Sobol, model=Hyperband, switch_every=3), task, "12x")
    rungs = {t.step for t in turns.history if t.notes[0]["view"] == "1"}
    assert len(rungs) > 1, "Hyperband has the second side"
    assert {t.step for t in turns.history if t.notes[0]["view"] == "0"} == {81}


def test_a_side_without_a_strategy_is_refused() -> None:
    with pytest.raises(OptionError, match="independent lacks a strategy for the data block"):
        Independent(model=Random)
    with pytest.raises(OptionError, match="alternating lacks a strategy for the model block"):
        Alternating(data=Random)
    with pytest.raises(OptionError, match="got patience=-1"):
        Alternating(base=Random, patience=-1)


def test_patience_ends_a_phase_that_brings_nothing(study: Study) -> None:
    def phases(patience: int) -> list[int]:
        strategy = Alternating(base=Sobol, switch_every=6, patience=patience)
        machine = study(strategy, Synthetic(seed=2), "12x")
        return [int(str(t.notes[0]["view"])) for t in machine.history]

    assert max(phases(2)) > max(phases(0))


def test_two_sided_wrappers_keep_the_contract() -> None:
    check_strategy(lambda: Independent(data=Sobol, model=Hyperband), quick=True)
    check_strategy(lambda: Alternating(data=Sobol, model=Hyperband, patience=2), quick=True)


def test_repeat_shows_means_of_runs_that_differ_in_seed(study: Study) -> None:
    """Three runs of each trial, side by side or not; the inner strategy sees one, and its mean."""
    task = Synthetic(noise=0.3)
    made = Repeat(base=Hyperband, times=3)
    told: list[Outcome] = []
    inner = made._inner.tell

    def spy(outcomes: Sequence[Outcome]) -> None:
        told.extend(outcomes)
        inner(outcomes)

    made._inner.tell = spy  # type: ignore[method-assign]
    machine = study(made, task, "12x", workers=2)
    trials = list(machine.history)
    whole = trials[: len(trials) // 3 * 3]
    for i in range(0, len(whole), 3):
        assert whole[i].config == whole[i + 1].config == whole[i + 2].config
        assert len({t.points[0].score.mean for t in whole[i : i + 3]}) == 3
    assert {o.segment.trial_id for o in told} == set(range(len({o.segment.trial_id for o in told})))
    for outcome in told:
        mine = whole[outcome.segment.trial_id * 3 : outcome.segment.trial_id * 3 + 3]
        for point in outcome.points:
            runs = [t.score_at(point.step) for t in mine]
            assert point.score.mean == pytest.approx(sum(r or 0.0 for r in runs) / 3)
    resumed = [o for o in told if o.segment.start]
    assert resumed, "promotions are promotions of all three"


def test_the_error_of_a_mean_has_a_part_of_the_items_and_one_of_the_seeds() -> None:
    both = _mean([Value(1.0, 0.3, 50), Value(3.0, 0.4, 50)])
    # items: (0.09 + 0.16) / 2; seeds: variance 2 over 2 runs
    assert (both.mean, both.n) == (2.0, 50)
    assert both.se == pytest.approx((0.125 + 1.0) ** 0.5)


def test_repeat_refuses_what_it_cannot_do() -> None:
    with pytest.raises(OptionError, match="got times=1; wanted at least 2"):
        Repeat(base=Random, times=1)
    task = Synthetic(small_space(), candidates=pool(small_space(), 4, 4))
    with pytest.raises(CapabilityError, match="a pool of 16 recorded candidates"):
        Repeat(base=Random).setup(task.problem("3x"))
