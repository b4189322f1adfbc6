"""The paper's heuristic: what is proposed when. Judge: the orders written out."""

from __future__ import annotations

import itertools

import optuna
import pytest

from munchray.orders import OrderRule
from munchray.samplers.base import STAGES
from munchray.samplers.search_space import Encoding
from munchray.samplers.sorted_orders import Sorted
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace

ALONE = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0}
TYPES = {"a": "disease", "b": "gene", "c": "gene", "d": "disease"}


def made(longest=4, adjacent_differ=False, **axes):
    space = SearchSpace(order=OrderSpace(adjacent_differ, 1, longest), **axes)
    return Encoding(space, OrderRule(TYPES, adjacent_differ), tuple(ALONE))


def asked(encoding, study, trials, score):
    """The settings suggested, each told its score before the next."""
    settings = []
    for _ in range(trials):
        trial = study.ask(encoding.distributions)
        settings.append(encoding.decode(trial.params))
        study.tell(trial, score(settings[-1]))
    return settings


def alone_or_ten(setting):
    return ALONE[setting["order"][0]] if len(setting["order"]) == 1 else 10.0


@pytest.mark.parametrize(
    ("longest", "adjacent_differ", "expected"),
    [
        (4, False, "bcda"),  # ascending; of equals, c comes before d
        (2, False, "da"),  # the best two
        (4, True, "bdca"),  # from the end: a (disease), then c (gene) for d (disease), then d, b
        (3, True, "dca"),
    ],
)
def test_each_auxiliary_alone_then_all_in_ascending_order(longest, adjacent_differ, expected):
    encoding = made(longest, adjacent_differ)
    study = optuna.create_study(direction="maximize", sampler=Sorted(encoding, 1))
    orders = ["".join(setting["order"]) for setting in asked(encoding, study, 5, alone_or_ten)]
    assert orders == ["a", "b", "c", "d", expected]


def test_where_less_is_better_the_least_comes_last():
    encoding = made()
    study = optuna.create_study(sampler=Sorted(encoding, 1))
    assert asked(encoding, study, 5, alone_or_ten)[-1]["order"] == ("a", "c", "d", "b")  # of equals, c before d


def test_every_learning_rate_has_its_own_sorted_order():
    encoding = made(learning_rate=Choices((0.1, 0.05)))
    study = optuna.create_study(direction="maximize", sampler=Sorted(encoding, 1))
    settings = asked(encoding, study, 10, lambda s: alone_or_ten(s) if s["learning_rate"] == 0.1 else -alone_or_ten(s))
    assert [len(setting["order"]) for setting in settings] == [1] * 8 + [4] * 2
    assert [(s["learning_rate"], "".join(s["order"])) for s in settings[8:]] == [(0.1, "bcda"), (0.05, "acdb")]


def test_first_stages_of_longer_orders_count_as_single_auxiliaries():
    encoding = made()
    study = optuna.create_study(direction="maximize", sampler=Sorted(encoding, 1))
    for order in itertools.permutations("abcd", 2):
        study.enqueue_trial(encoding.encode({"order": order}))
        trial = study.ask(encoding.distributions)
        trial.set_user_attr(STAGES, [[1, ALONE[order[0]]], [2, 5.0]])
        study.tell(trial, 5.0)
    assert asked(encoding, study, 1, alone_or_ten)[0]["order"] == ("b", "c", "d", "a")


def test_an_auxiliary_that_failed_alone_goes_first_and_pending_ones_are_waited_for():
    encoding = made()
    study = optuna.create_study(direction="maximize", sampler=Sorted(encoding, 1))
    first, *rest = [study.ask(encoding.distributions) for _ in range(4)]
    assert len(encoding.decode(study.ask(encoding.distributions).params)["order"]) >= 1  # anything: nothing is known
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    for trial in rest:
        study.tell(trial, alone_or_ten(encoding.decode(trial.params)))
    assert asked(encoding, study, 1, alone_or_ten)[0]["order"] == ("a", "b", "c", "d")
