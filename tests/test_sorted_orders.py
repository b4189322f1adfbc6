"""The sampler of the paper's (sort) heuristic. Judge: its suggestions written out."""

from __future__ import annotations

import itertools

import optuna
import pytest

from munchray.orders import OrderRule
from munchray.samplers.base import STAGES
from munchray.samplers.search_space import SpaceEncoding
from munchray.samplers.sorted_orders import SortedOrderSampler
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace

ALONE = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0}
TYPES = {"a": "disease", "b": "gene", "c": "gene", "d": "disease"}


def encoding_of(longest=4, adjacent_differ=False, **axes):
    space = SearchSpace(order=OrderSpace(adjacent_differ, 1, longest), **axes)
    return SpaceEncoding(space, OrderRule(TYPES, adjacent_differ), tuple(ALONE))


def suggestions(encoding, study, trials, objective):
    """The settings suggested, each completed with its score before the next."""
    settings = []
    for _ in range(trials):
        trial = study.ask(encoding.distributions)
        settings.append(encoding.decode(trial.params))
        study.tell(trial, objective(settings[-1]))
    return settings


def score(setting):
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
    encoding = encoding_of(longest, adjacent_differ)
    study = optuna.create_study(direction="maximize", sampler=SortedOrderSampler(encoding, 1))
    orders = ["".join(setting["order"]) for setting in suggestions(encoding, study, 5, score)]
    assert orders == ["a", "b", "c", "d", expected]


def test_minimization_puts_the_lowest_last():
    encoding = encoding_of()
    study = optuna.create_study(sampler=SortedOrderSampler(encoding, 1))
    assert suggestions(encoding, study, 5, score)[-1]["order"] == ("a", "c", "d", "b")  # of equals, c before d


def test_every_learning_rate_has_its_own_sorted_order():
    encoding = encoding_of(learning_rate=Choices((0.1, 0.05)))
    study = optuna.create_study(direction="maximize", sampler=SortedOrderSampler(encoding, 1))
    settings = suggestions(encoding, study, 10, lambda s: score(s) if s["learning_rate"] == 0.1 else -score(s))
    assert [len(setting["order"]) for setting in settings] == [1] * 8 + [4] * 2
    assert [(s["learning_rate"], "".join(s["order"])) for s in settings[8:]] == [(0.1, "bcda"), (0.05, "acdb")]


def test_first_stages_count_as_single_auxiliaries():
    encoding = encoding_of()
    study = optuna.create_study(direction="maximize", sampler=SortedOrderSampler(encoding, 1))
    for order in itertools.permutations("abcd", 2):
        study.enqueue_trial(encoding.encode({"order": order}))
        trial = study.ask(encoding.distributions)
        trial.set_user_attr(STAGES, [[1, ALONE[order[0]]], [2, 5.0]])
        study.tell(trial, 5.0)
    assert suggestions(encoding, study, 1, score)[0]["order"] == ("b", "c", "d", "a")


def test_failed_auxiliaries_go_first_and_pending_ones_are_awaited():
    encoding = encoding_of()
    study = optuna.create_study(direction="maximize", sampler=SortedOrderSampler(encoding, 1))
    first, *rest = [study.ask(encoding.distributions) for _ in range(4)]
    assert len(encoding.decode(study.ask(encoding.distributions).params)["order"]) >= 1  # anything: nothing is known
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    for trial in rest:
        study.tell(trial, score(encoding.decode(trial.params)))
    assert suggestions(encoding, study, 1, score)[0]["order"] == ("a", "b", "c", "d")
