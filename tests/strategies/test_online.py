from __future__ import annotations

import math

import numpy as np
import pytest

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.registry.catalogue import CONTROLLERS, STRATEGIES, registered
from jobs_bench.registry.loading import load_controller, load_strategy
from jobs_bench.runner.machine import Machine
from jobs_bench.strategy.controller import (
    ProxyLosses,
    Signals,
    capabilities_of,
    even_ends,
    planned_cost,
)
from jobs_bench.testing.strategy_contract import check_strategy
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench_strategies.online._method import OnlineMethod
from jobs_bench_strategies.online.aioli import AioliController
from jobs_bench_strategies.online.doge import DogeController
from jobs_bench_strategies.online.doremi import DoReMiController, tilted
from jobs_bench_strategies.online.odm import OdmController, exploration
from jobs_bench_strategies.online.skill_it import SkillItController

ONLINE = sorted(registered(CONTROLLERS))


def _signals(step: int, rows: list[float], losses: list[float], **more: np.ndarray) -> Signals:
    return Signals(step, 100, np.asarray(rows), np.asarray(losses), **more)


def test_exp3_by_hand() -> None:
    odm = OdmController(rounds=4)
    memory, shares = odm.start(np.array([0.5, 0.5]), 100, ())
    assert shares.tolist() == [0.5, 0.5]
    # 25 steps, 3 of 4 rows are of the first domain: its reward is 25 * .75 / .5 * .2
    memory, shares = odm.update(memory, _signals(25, [75, 25], [2.0, 4.0]))
    np.testing.assert_allclose(memory["rewards"], [7.5, 5.0])
    before, now = math.sqrt(math.log(2) / 50), math.sqrt(math.log(2) / 52)
    power = math.exp(before * 2.5)
    wanted = (1 - 2 * now) * power / (power + 1) + now
    np.testing.assert_allclose(shares, [wanted, 1 - wanted], rtol=1e-12)
    assert shares[0] == pytest.approx(0.5562, abs=1e-4)
    # a domain of which nothing was drawn keeps its reward
    later, _ = odm.update(memory, _signals(50, [10, 0], [1.0, math.nan]))
    np.testing.assert_allclose(later["rewards"], [7.5 + 25 / wanted * 0.1, 5.0])
    assert memory["rewards"].tolist() == pytest.approx([7.5, 5.0]), "the memory stays as it is"


def test_exp3_does_not_overflow() -> None:
    odm = OdmController(rounds=2)
    memory, _ = odm.start(np.full(3, 1 / 3), 100, ())
    _, shares = odm.update(memory, _signals(50, [1, 1, 1], [1e9, 1.0, 1.0]))
    floor = exploration(3, 51)
    np.testing.assert_allclose(shares, [1 - 2 * floor, floor, floor])


def test_rounds_end_at_fixed_steps() -> None:
    assert even_ends(4, 100) == [25, 50, 75]
    assert even_ends(8, 4) == [1, 2, 3], "rounds without a step fall together"
    with pytest.raises(OptionError, match="rounds=1"):
        OdmController(rounds=1)


def test_skill_it_by_hand() -> None:
    skill_it = SkillItController(rounds=4, eta=0.5, window=2, short=0.1)
    runs = skill_it.proxies(np.array([0.5, 0.5]), 100)
    assert [(r.shares.tolist(), r.steps) for r in runs] == [([1, 0], 10), ([0, 1], 10)]
    before = np.array([4.0, 2.0])
    # the first domain helps both; the second one hurts the first, which counts as nothing
    after = [np.array([2.0, 1.5]), np.array([5.0, 1.0])]
    losses = [ProxyLosses(before, a) for a in after]
    memory, shares = skill_it.start(np.array([0.5, 0.5]), 100, losses)
    np.testing.assert_allclose(memory["graph"], [[0.5, 0.25], [0.0, 0.5]])
    np.testing.assert_allclose(shares, _shares(0.5 * (0.75 - 0.5)))
    scores = []
    for step, told in ((25, [3.0, 2.0]), (50, [2.0, 2.0]), (75, [1.0, 4.0])):
        signals = _signals(step, [1, 1], [1, 1], domain_losses=np.asarray(told))
        memory, shares = skill_it.update(memory, signals)
        scores.append(0.5 * told[0] + 0.25 * told[1] - 0.5 * told[1])
        np.testing.assert_allclose(shares, _shares(0.5 * sum(scores[-2:])))


def _shares(logit: float) -> list[float]:
    return [1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))]


def test_aioli_by_hand() -> None:
    aioli = AioliController(rounds=2, eta=0.5, sweeps=1, heat=0.75, explore=0.4)
    assert list(aioli.ends(2, 100)) == [0, 10, 20, 50, 60, 70]
    law = np.array([[3.0, 1.0], [0.0, 2.0]])
    start = np.array([0.5, 0.5])
    memory, shares = aioli.start(start, 100, ())
    assert shares.tolist() == [0.5, 0.5]
    losses = np.array([9.0, 8.0])
    for step in (0, 10, 20):
        signals = _signals(step, [1, 1], [1, 1], domain_losses=losses)
        memory, shares = aioli.update(memory, signals)
        if step < 20:
            assert sorted(shares.tolist()) == [0.25, 0.75]
            assert shares[aioli.order(2, 0)[step // 10]] == 0.75
            losses = losses - law @ shares  # the world follows the law
    # columns of the law sum to 3 and 3 of 6
    np.testing.assert_allclose(shares, [0.5, 0.5])
    tilted = np.array([[3.0, 1.0], [0.0, 0.0]])
    memory, shares = aioli.start(start, 100, ())
    losses = np.array([9.0, 8.0])
    for step in (0, 10, 20):
        signals = _signals(step, [1, 1], [1, 1], domain_losses=losses)
        memory, shares = aioli.update(memory, signals)
        losses = losses - tilted @ shares
    np.testing.assert_allclose(shares, _shares(0.5 * (0.75 - 0.25)))


def test_aioli_has_room_or_says_so() -> None:
    aioli = AioliController(rounds=4, sweeps=2)
    assert len(aioli.ends(3, 14)) == 2 * 7, "two rounds fit"
    with pytest.raises(OptionError, match="wanted fewer than the 6 steps"):
        aioli.ends(3, 6)
    with pytest.raises(OptionError, match="all bursts are the same"):
        AioliController(heat=0.5).ends(2, 100)


def test_doremi_by_hand() -> None:
    doremi = DoReMiController(rounds=4, eta=1.0, smoothing=0.1)
    start = np.array([0.5, 0.5])
    (run,) = doremi.proxies(start, 100)
    assert (run.shares.tolist(), run.steps) == ([0.5, 0.5], 100)
    memory, shares = doremi.start(start, 100, ())
    assert shares.tolist() == [0.5, 0.5]
    memory, shares = doremi.update(memory, _signals(25, [1, 1], [1, 1], excess=np.array([1.0, 0])))
    # e / (e + 1) = .7310586, nine tenths of it and half a tenth
    np.testing.assert_allclose(shares, [0.70795272, 0.29204728], rtol=1e-7)
    # nothing was drawn of the first domain: its excess counts again
    unseen = np.array([math.nan, 0.5])
    _, shares = doremi.update(memory, _signals(50, [0, 1], [math.nan, 1], excess=unseen))
    odds = 0.70795272 / 0.29204728 * math.exp(0.5)
    np.testing.assert_allclose(shares[0], 0.9 * odds / (1 + odds) + 0.05, rtol=1e-7)


def test_doge_by_hand() -> None:
    doge = DogeController(rounds=4, eta=0.5)
    assert list(doge.ends(3, 100)) == [0, 25, 50, 75]
    memory, _ = doge.start(np.array([0.5, 0.25, 0.25]), 100, ())
    signals = _signals(
        0,
        [0, 0, 0],
        [math.nan] * 3,
        alignments=np.array([4.0, -1.0, 99.0]),
        norms=np.array([1.0, 2.0, 3.0]),
    )
    _, shares = doge.update(memory, signals)
    # scores 2, 0 (it would hurt) and 5 (the limit)
    powers = [0.5 * math.exp(1.0), 0.25, 0.25 * math.exp(2.5)]
    np.testing.assert_allclose(shares, [p / sum(powers) for p in powers], rtol=1e-12)


def test_a_domain_without_a_share_stays_without() -> None:
    np.testing.assert_allclose(
        tilted(np.array([0.0, 0.5, 0.5]), np.array([9.0, 0, 0])), [0, 0.5, 0.5]
    )


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("horizon", [11, 12, 81, 400])
@pytest.mark.parametrize("name", ONLINE)
def test_ends_ascend_within_the_run(name: str, horizon: int, k: int) -> None:
    ends = list(load_controller(name).ends(k, horizon))
    assert ends == sorted(set(ends))
    assert all(0 <= e < horizon for e in ends)


@pytest.mark.parametrize("name", ONLINE)
def test_a_strategy_names_its_controller(name: str) -> None:
    assert name in registered(STRATEGIES)
    strategy = load_strategy(name)
    assert isinstance(strategy, OnlineMethod)
    found = load_controller(strategy.spec)
    assert vars(found) == vars(strategy.controller), "the options survive the spec"
    assert capabilities_of(found) <= strategy.info.needs
    strategy.setup(Synthetic().problem("9x"))
    assert strategy.recommend().controller == strategy.spec


@pytest.mark.parametrize("name", ONLINE)
def test_a_task_without_the_capability_is_refused(name: str) -> None:
    bare = Synthetic().problem("9x", capabilities=("resume", "curves", "domain_losses"))
    with pytest.raises(CapabilityError, match="reweight"):
        load_strategy(name).setup(bare)


def test_a_budget_below_the_run_is_refused() -> None:
    with pytest.raises(OptionError, match=r"got a budget of 1x; skill_it.* wants at least 1\.1"):
        load_strategy("skill_it").setup(Synthetic().problem("1x"))


@pytest.mark.parametrize("name", ONLINE)
def test_plans_add_up_over_cuts(name: str) -> None:
    problem, controller = Synthetic().problem("9x"), load_controller(name)
    cut = [planned_cost(problem, controller, problem.default, *s) for s in ((0, 27), (27, 81))]
    whole = planned_cost(problem, controller, problem.default, 0, 81)
    assert sum(cut) == pytest.approx(whole)
    assert whole >= problem.full_cost() * (1 - 1e-12)


@pytest.mark.parametrize("wrapped", ["data_only(odm)", "repeat(odm)"])
def test_wrappers_leave_the_controller_alone(wrapped: str) -> None:
    check_strategy(lambda: load_strategy(wrapped), quick=True)
    problem, strategy = Synthetic(), load_strategy(wrapped)
    told = problem.problem("8x", workers=2)
    machine = Machine(strategy, told, problem.ledger(), 1)
    started: list[str] = []
    while not machine.over:
        while (event := machine.poll()) is not None:
            machine.apply(event)
        if (segment := machine.awaited) is not None:
            started.append(segment.controller)
            machine.apply(machine.finish(problem.run(segment)))
    assert started
    assert all(spec.startswith("odm?") for spec in started)
    assert machine.recommendation is not None
    assert machine.recommendation.controller == started[0]


def test_independent_recommends_the_controller_with_the_rest() -> None:
    problem, strategy = Synthetic(), load_strategy("independent?data=odm&model=bo")
    machine = Machine(strategy, problem.problem("8x"), problem.ledger(), 1)
    controlled: list[bool] = []
    while not machine.over:
        while (event := machine.poll()) is not None:
            machine.apply(event)
        if (segment := machine.awaited) is not None:
            controlled.append(bool(segment.controller))
            machine.apply(machine.finish(problem.run(segment)))
    assert controlled[0]
    assert not any(controlled[1:]), "the configuration is searched at the plain mixture"
    assert len(controlled) > 2
    assert machine.recommendation is not None
    assert machine.recommendation.controller.startswith("odm?")
    assert machine.recommendation.config != machine.problem.default


def test_a_mixture_that_changes_cannot_be_held() -> None:
    strategy = load_strategy("alternating?data=odm&model=bo")
    with pytest.raises(OptionError, match="cannot hold the mixture of odm"):
        strategy.setup(Synthetic().problem("8x"))
