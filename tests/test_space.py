"""Search-space files: parsing, writing and validation."""

import pytest
from pydantic import ValidationError

from munchray.settings import Choices, OrderSpace, Range, SearchSpace
from munchray.settings.space import VALUES


def error_of(**keys):
    with pytest.raises(ValidationError) as caught:
        SearchSpace(**keys)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ([0.1, 0.05], Choices((0.1, 0.05))),
        (0.1, Choices((0.1,))),
        ({"low": 0.01, "high": 0.2, "log": True}, Range(0.01, 0.2, log=True)),
        ({"low": 0.1, "high": 0.5, "step": 0.1}, Range(0.1, 0.5, step=0.1)),
    ],
)
def test_every_notation_of_a_dimension_is_parsed(raw, read):
    assert SearchSpace(learning_rate=raw).learning_rate == read


def test_ranges_of_sizes_are_integers():
    assert SearchSpace(batch_size={"low": 8, "high": 64}).batch_size == Range(8, 64, integer=True)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ({}, OrderSpace(False, None, None)),
        ({"of": "auxiliaries", "adjacent": "different_type"}, OrderSpace(True, None, None)),
        ({"adjacent": "any", "length": 3}, OrderSpace(False, 3, 3)),
        ({"length": {"min": 2}}, OrderSpace(False, 2, None)),
        ({"length": {"max": 4}}, OrderSpace(False, 1, 4)),
        ({"length": {"min": 2, "max": 4}}, OrderSpace(False, 2, 4)),
    ],
)
def test_every_notation_of_an_order_is_parsed(raw, read):
    assert SearchSpace(order=raw).order == read


def test_a_space_round_trips():
    space = SearchSpace(
        learning_rate={"low": 0.01, "high": 0.2, "log": True},
        batch_size=[16, 32],
        hidden_size={"low": 64, "high": 256, "step": 64},
        order={"adjacent": "different_type", "length": {"min": 1}},
    )
    assert SearchSpace.model_validate(space.model_dump(mode="json")) == space
    assert set(space.dimensions()) == {"learning_rate", "batch_size", "hidden_size"}


def test_grid_points():
    assert Choices((0.1, 0.05)).points() == (0.1, 0.05)
    assert Range(8, 12, integer=True).points() == (8, 9, 10, 11, 12)
    assert Range(64, 256, step=64, integer=True).points() == (64, 128, 192, 256)
    assert Range(0.0, 0.3, step=0.1).points() == pytest.approx((0, 0.1, 0.2, 0.3))
    assert Range(0.1, 0.2).points() is None


@pytest.mark.parametrize("bad", [0, -0.1, float("nan"), float("inf"), "0.1", True, None])
def test_learning_rates_are_positive_numbers(bad):
    assert "expected a positive number" in error_of(learning_rate=bad)
    assert "learning_rate[1]" in error_of(learning_rate=[0.1, bad])
    assert "learning_rate.high" in error_of(learning_rate={"low": 0.1, "high": bad})


@pytest.mark.parametrize("bad", [0, -16, 16.0, "16", True, None, [16]])
@pytest.mark.parametrize("name", ["batch_size", "hidden_size"])
def test_sizes_are_positive_whole_numbers(name, bad):
    assert "expected a positive whole number" in error_of(**{name: [bad]})


@pytest.mark.parametrize("bad", [1, 1.0, -0.1, float("nan"), False])
@pytest.mark.parametrize("name", ["word_dropout", "locked_dropout"])
def test_dropouts_are_from_0_to_below_1(name, bad):
    assert "expected a number from 0 up to, but not including, 1" in error_of(**{name: [bad]})


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"learning_rate": []}, "learning_rate has no choices"),
        ({"learning_rate": [0.1, 0.1]}, "learning_rate lists 0.1 twice"),
        ({"learning_rate": {"low": 0.2, "high": 0.1}}, "goes from 0.2 to 0.1; expected low below high"),
        ({"learning_rate": {"low": 0.1}}, "learning_rate.high is missing"),
        ({"learning_rate": {"low": 0.1, "high": 0.2, "lgo": True}}, "unknown key 'learning_rate.lgo'"),
        ({"learning_rate": {"low": 0.1, "high": 0.2, "log": "yes"}}, 'learning_rate.log is "yes"; expected true'),
        ({"learning_rate": {"low": 0.1, "high": 0.2, "step": 0}}, "learning_rate.step is 0"),
        ({"learning_rate": {"low": 0.1, "high": 0.2, "step": 1}}, "learning_rate.step 1 is wider than the range"),
        ({"learning_rate": {"low": 0.1, "high": 0.2, "step": 0.05, "log": True}}, "both log: true and a step"),
        ({"batch_size": {"low": 8, "high": 16, "step": 0.5}}, "batch_size.step is 0.5; expected a positive whole"),
        ({"word_dropout": {"low": 0, "high": 0.5, "log": True}}, "word_dropout.low is 0 with log: true"),
        ({"order": "auxiliaries"}, 'order is "auxiliaries"; expected a mapping'),
        ({"order": {"of": "main"}}, 'order.of is "main"; expected auxiliaries'),
        ({"order": {"adjacent": "same"}}, 'order.adjacent is "same"; expected different_type or any'),
        ({"order": {"length": 0}}, "order.length is 0; expected a positive whole number or {min, max}"),
        ({"order": {"length": {"min": 1.5}}}, "order.length.min is 1.5; expected a positive whole number"),
        ({"order": {"length": {"min": 3, "max": 2}}}, "order.length goes from 3 to 2"),
        ({"order": {"lenght": 2}}, "unknown key 'order.lenght'"),
    ],
)
def test_each_mistake_is_reported(keys, part):
    assert part in error_of(**keys)


def test_all_mistakes_of_a_range_are_reported_at_once():
    text = error_of(learning_rate={"low": -1, "high": float("nan"), "log": 1, "stp": 2})
    for part in (
        "learning_rate.low is -1",
        "learning_rate.high is NaN",
        "learning_rate.log is 1",
        "'learning_rate.stp'",
    ):
        assert part in text


def test_every_dimension_is_a_trial_setting():
    from munchray.settings import TrialSettings

    assert set(VALUES) < set(TrialSettings.model_fields)
