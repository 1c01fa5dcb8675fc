from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs_bench.errors import SpaceError, UnknownNameError
from jobs_bench.space.axes import Categorical, Float, Int, Subset
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.presets import METHODS, lora_space, paper_space
from jobs_bench.space.simplex import Simplex, share_caps
from jobs_bench.space.space import Condition, Space
from jobs_bench.testing.synthetic import small_space

DOMAINS = tuple("abcdefghi")
SPACES = {
    "lora": lora_space(Simplex("mixture", DOMAINS[:4], floor=0.02), 6, methods=METHODS),
    "lora-one-method": lora_space(Simplex("mixture", DOMAINS[:2]), 1, methods=("lora",)),
    "paper": paper_space(Simplex("mixture", DOMAINS, floor=0.01), 32),
    "capped": paper_space(
        Simplex("mixture", DOMAINS, caps=share_caps([100] * 9, 300, 0.5)), n_layers=2
    ),
}


def _close(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, Mixture) and isinstance(b, Mixture):
        return all(abs(a[d] - b[d]) < 1e-9 for d in a)
    return a == b


def _same(a: Configuration, b: Configuration) -> bool:
    return set(a) == set(b) and all(_close(a[n], b[n]) for n in a)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_draws_lie_in_the_space_and_encodings_return_them(space: Space, seed: int) -> None:
    config = space.sample(np.random.default_rng(seed))
    assert space.check(config) == config
    assert space.build(config) == config, "realising twice is realising once"
    assert _same(space.decode(space.encode(config).tolist()), config)
    native = NativeEncoding(space)
    row = native.encode(config)
    low, high = native.bounds
    assert ((row >= low - 1e-12) & (row <= high + 1e-9)).all()
    assert _same(native.decode(row), config)
    again = Configuration.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.key() == config.key()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_the_default_is_a_point(space: Space) -> None:
    assert space.check(space.default()) == space.default()


def test_paper_preset_has_nineteen_dimensions() -> None:
    assert NativeEncoding(SPACES["paper"]).d == 19


@given(
    weights=st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: sum(w) > 1e-6),
    floor=st.sampled_from([0.0, 0.05, 0.25]),
)
def test_realised_weights_are_exact_above_the_floor(weights: list[float], floor: float) -> None:
    axis = Simplex("mixture", DOMAINS[:4], floor=floor)
    made = axis.realise(Mixture.normalised(dict(zip(DOMAINS, weights, strict=False))))
    assert abs(math.fsum(made.values()) - 1) < 1e-12
    assert all(w == 0 or w >= floor - 1e-12 for w in made.values())
    assert axis.check(made) == made


@given(
    weights=st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: sum(w) > 1e-6),
    rows=st.lists(st.integers(40, 400), min_size=4, max_size=4),
)
def test_no_row_is_drawn_more_often_than_allowed(weights: list[float], rows: list[int]) -> None:
    drawn = 320
    caps = share_caps(rows, drawn, max_epochs=2)
    axis = Simplex("mixture", DOMAINS[:4], floor=0.02, caps=caps)
    made = axis.realise(Mixture.normalised(dict(zip(DOMAINS, weights, strict=False))))
    for weight, n in zip(made.values(), rows, strict=True):
        assert weight * drawn <= 2 * n * (1 + 1e-9) or weight >= 1


def test_stick_breaking_is_uniform_on_the_simplex() -> None:
    """Uniform coordinates give Dirichlet(1): each weight is Beta(1, k - 1)."""
    axis = Simplex("mixture", DOMAINS[:5])
    rng = np.random.default_rng(0)
    draws = np.array([list(axis.decode(rng.random(4).tolist()).values()) for _ in range(4000)])
    for k in range(5):
        ranks = 1 - (1 - np.sort(draws[:, k])) ** 4  # the Beta(1, 4) distribution function
        assert np.abs(ranks - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / math.sqrt(4000)


def test_subspaces_keep_conditions_and_complete() -> None:
    space = SPACES["lora"]
    base = space.build({"method": "ia3"})
    data = space.subspace(["data"], base)
    assert data.names == ("mixture",)
    whole = data.complete(data.sample(np.random.default_rng(1)))
    assert space.check(whole)["method"] == "ia3"
    model = space.subspace(["model", "train"], space.default())
    drawn = model.sample(np.random.default_rng(2))
    assert space.check(model.complete(drawn))
    with pytest.raises(SpaceError, match="wanted one that has axes: model"):
        Space((Float("x", 0, 1),)).subspace(["data"], Configuration({"x": 0.5}))


def test_inactive_axes_are_absent_and_do_not_tell_rows_apart() -> None:
    space = SPACES["lora"]
    config = space.build({"method": "full"})
    assert not {"r", "scaling", "lora_dropout", "target_modules"} & set(config)
    with pytest.raises(SpaceError, match="its condition does not hold"):
        space.check(config.with_({"r": 8}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixture": {"a": 0.5, "b": 0.4, "c": 0.0, "d": 0.0}}, "sum to 0.9"),
        ({"mixture": {"a": 1.0}}, "wanted the domains"),
        ({"r": 0}, "wanted a whole number in"),
        ({"r": 2.5}, "wanted a whole number in"),
        ({"scaling": math.nan}, "wanted a number in"),
        ({"method": "lora2"}, "wanted one of lora, rslora"),
        ({"target_modules": ()}, "wanted at least 1 of attention, mlp"),
        ({"placement": None}, "wanted one of first, last"),
    ],
)
def test_values_off_their_axis_are_refused(values: dict[str, object], message: str) -> None:
    space = SPACES["lora"]
    with pytest.raises(SpaceError, match=message):
        space.check({**space.default(), **values})  # type: ignore[dict-item]


def test_unknown_axes_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'scaling'"):
        SPACES["lora"].build({"scalng": 1.0})


def test_impossible_axes_are_refused() -> None:
    with pytest.raises(SpaceError, match="low below high"):
        Float("x", 1, 1)
    with pytest.raises(SpaceError, match="wanted a low above 0"):
        Float("x", 0, 1, log=True)
    with pytest.raises(SpaceError, match="distinct names"):
        Categorical("x", ("a", "a"))
    with pytest.raises(SpaceError, match="with min=3 of 2"):
        Subset("x", ("a", "b"), min=3)
    with pytest.raises(SpaceError, match="wanted enough rows"):
        share_caps([10, 10], 100, 2)
    with pytest.raises(SpaceError, match="which is not before it"):
        Space((Int("a", 1, 2),), (Condition("a", "b", ("x",)),))


@given(st.integers(0, 2**32))
def test_equal_configurations_have_equal_hashes_and_keys(seed: int) -> None:
    space = small_space()
    config = space.sample(np.random.default_rng(seed))
    again = Configuration.from_json(config.to_json())
    other = config.with_({"r": 1 + int(config.number("r")) % 64})
    assert config == again == dict(config)
    assert (hash(config), config.key()) == (hash(again), again.key())
    assert config != other
    assert config.key() != other.key()
    assert config.mixture() == dict(config.mixture())


def test_equal_mixtures_hash_alike_in_any_order() -> None:
    a, b = Mixture({"x": 0.25, "y": 0.75}), Mixture({"y": 0.75, "x": 0.25})
    assert a == b
    assert hash(a) == hash(b)


def test_rows_of_many_configurations_are_those_of_each_and_nobody_shares_them() -> None:
    space = SPACES["lora"]
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(20)]
    one, other = NativeEncoding(space), NativeEncoding(space)
    wanted = np.stack([one.encode(c) for c in configs])
    for encoding in (one, other):
        rows = encoding.encode_all(configs)
        np.testing.assert_array_equal(rows, wanted)
        rows[:] = -1.0
    np.testing.assert_array_equal(one.encode_all(configs[::-1]), wanted[::-1])
