"""Effects of order: planted effects lie within their intervals, and unidentified ones are reported as unknown."""

import random
from itertools import permutations
from statistics import mean

import pytest
from made_trials import made_trial
from scipy.stats import spearmanr

from munchray.report.effects import order_effects

NAMES = ("a", "b", "c", "d")
KINDS = ["presence", "position", "first", "last", "before", "beside", "sorted"]


def searched(score, trials=30, seed=0, length=4, noise=0.5, stack=True):
    """Random orders at two learning rates; shared prefixes are trained once, and a stage inherits half of the noise."""
    draw = random.Random(seed)
    luck = {((), rate): 0.0 for rate in (0.1, 0.05)}

    def stage(order, rate):
        if (order, rate) not in luck:
            luck[order, rate] = luck[order[:-1], rate] / 2 + draw.gauss(0, noise)
        return 50 + 6 * len(order) + 20 * rate + score(order) + luck[order, rate]

    made = []
    for number in range(trials):
        order, rate = tuple(draw.sample(NAMES, length)), draw.choice([0.1, 0.05])
        stages = [stage(order[:depth], rate) for depth in range(1, length + 1)]
        made.append(made_trial(number, order, stages[-1], stages if stack else (), learning_rate=rate))
    return made


def estimates(trials, kind):
    return next(each for each in order_effects(trials).kinds if each.kind == kind)


def effects(trials, kind):
    return {effect.of: effect for effect in estimates(trials, kind).effects}


def last_is_a(order):
    return 2.0 * (order[-1] == "a")


def b_before_d(order):
    return 1.2 * (order.index("b") < order.index("d")) if {"b", "d"} <= set(order) else 0.6


def a_beside_b(order):
    return 1.5 * ("ab" in "".join(order) or "ba" in "".join(order))


def ascending(order):
    """The later in the alphabet the more, alone; and an order is worth more the nearer to the alphabet it is."""
    if len(order) == 1:
        return 3.0 * NAMES.index(order[0])
    return spearmanr(range(len(order)), [NAMES.index(name) for name in order]).statistic


@pytest.mark.parametrize("stack", [True, False])
def test_an_effect_of_the_last_auxiliary_is_found_and_none_of_the_others(stack):
    found = effects(searched(last_is_a, stack=stack), "last")
    assert found["a"].low <= 2.0 <= found["a"].high
    assert found["a"].low > 0
    assert all(found[name].low <= -2 / 3 <= found[name].high for name in "bcd")  # rather than another, which may be a


@pytest.mark.parametrize(
    ("question", "score", "of", "truth"),
    [
        ("presence", lambda order: 1.5 * ("b" in order), "b", 1.5),
        ("first", lambda order: -1.0 * (order[0] == "c"), "c", -1.0),
        ("before", b_before_d, "b before d", 1.2),
        ("beside", a_beside_b, "a beside b", 1.5),
        ("sorted", ascending, "ascending order", 2.0),
    ],
)
def test_what_was_planted_is_within_its_interval(question, score, of, truth):
    found = effects(searched(score, trials=60, noise=0.2, seed=1), question)[of]
    assert found.low <= truth <= found.high
    assert found.low * found.high > 0


def test_a_position_effect_is_that_of_moving_from_first_to_last():
    found = effects(
        searched(lambda order: order.index("a") / 3 if "a" in order else 0, stack=False, noise=0.1), "position"
    )
    assert found["a"].points == pytest.approx(1.0, abs=0.15)
    assert found["b"].points == pytest.approx(
        -1 / 3, abs=0.15
    )  # b to the end brings a, or another, one position forward


def test_a_continuous_rate_with_an_optimum_does_not_hide_the_order():
    draw, trials = random.Random(5), []
    for number in range(40):
        order, rate = tuple(draw.sample(NAMES, 4)), draw.uniform(0, 1)
        score = 70 + last_is_a(order) - 30 * (rate - 0.5) ** 2 + draw.gauss(0, 0.2)
        trials.append(made_trial(number, order, score, learning_rate=rate))
    found = effects(trials, "last")["a"]
    assert found.low <= 2.0 <= found.high
    assert found.high - found.low < 2.5


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = []
    for seed in range(60):
        found = effects(searched(last_is_a, trials=20, seed=seed), "last")
        covered += [found[name].low <= (2.0 if name == "a" else -2 / 3) <= found[name].high for name in NAMES]
    assert 0.91 <= mean(covered) <= 0.995


def test_too_few_trials_give_a_reason_instead_of_effects():
    found = order_effects(searched(last_is_a, trials=4, stack=False))
    assert [each.kind for each in found.kinds] == KINDS
    assert [each.effects for each in found.kinds] == [()] * 7
    assert found.kinds[3].reason.startswith("too few trials: 4 trainings in 4 groups for ")
    assert found.kinds[3].unknown == NAMES
    assert order_effects([]).kinds[0].reason == "too few trials: 0 trainings in 0 groups for 0 unknowns"


def test_what_no_order_varied_is_unknown():
    found = order_effects(searched(last_is_a, stack=False))
    presence, *_, single = found.kinds
    assert presence.reason == "the orders tried vary too little"  # all have all four
    assert single.reason == "no order consists of auxiliaries that were each trained alone"


def test_first_effects_are_unknown_where_each_first_stage_was_trained_once():
    trials = [trial for trial in searched(last_is_a, trials=60) if trial.learning_rate == 0.1]
    first = estimates(trials, "first")
    assert (first.effects, first.unknown) == ((), NAMES)  # auxiliary and stage noise are confounded


def test_an_auxiliary_that_only_one_trial_had_last_is_unknown():
    orders = [order for order in permutations(NAMES) if order[-1] in "ab"][:11]
    trials = [made_trial(n, order, 60 + n % 3 / 10) for n, order in enumerate([*orders, ("a", "b", "d", "c")])]
    assert "c" in estimates(trials, "last").unknown


def test_a_shared_prefix_counts_once():
    trials = searched(last_is_a, trials=30)
    found = order_effects(trials)
    seen = {(trial.order[:length], trial.learning_rate) for trial in trials for length in (1, 2, 3)}
    assert (found.trials, found.prefixes) == (30, len(seen))
