"""The order_gp sampler: its example, learning from stages, their cost, many auxiliaries. Judges: formulas."""

from __future__ import annotations

import inspect
import itertools
import statistics
import textwrap

import optuna
import pytest

from munchray.orders import OrderRule
from munchray.samplers import order_gp
from munchray.samplers.base import STAGES, STAGES_TRAINED
from munchray.samplers.order_gp import OrderGPSampler
from munchray.samplers.search_space import SpaceEncoding, setting_key
from munchray.settings.dimensions import Choices, OrderSpace, Range
from munchray.settings.space import SearchSpace

EFFECTS = dict(zip("abcdefg", (0.3, -1.2, 0.8, 1.9, -0.4, 0.1, -0.7), strict=True))
RATE = {"learning_rate": Choices((0.1, 0.05))}


def encoding_of(names, rule=None, lengths=(None, None), **axes):
    space = SearchSpace(order=OrderSpace(rule is not None, *lengths), **axes)
    return SpaceEncoding(space, rule or OrderRule({}), names)


def late(order):
    """Each auxiliary counts 0.6 times as much as the next; each further one helps."""
    return len(order) + sum(EFFECTS[name] * 0.6**distance for distance, name in enumerate(reversed(order)))


def study_of(encoding, seed=1, direction="maximize"):
    return optuna.create_study(direction=direction, sampler=OrderGPSampler(encoding, seed))


def ask(study, stages=None):
    """A suggestion, completed with its score by `late`, and with scores of its prefixes by `stages`."""
    encoding = study.sampler.encoding
    trial = study.ask(encoding.distributions)
    setting = encoding.decode(trial.params)
    order = setting["order"]
    if stages:
        trial.set_user_attr(STAGES, [[length, stages(order[:length])] for length in range(1, len(order) + 1)])
    sign = -1 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1
    study.tell(trial, sign * (late(order) + 5 * setting.get("learning_rate", 0.0)))
    return setting


def best_order(names, length):
    return max(itertools.permutations(names, length), key=late)


def test_the_documented_example_runs(capsys):
    example = inspect.getdoc(order_gp).split("\n\n", 2)[2]
    code = textwrap.dedent(example)
    assert "ray" not in code.replace("munchray", "")
    exec(code, {})
    assert eval(capsys.readouterr().out)[-1] == "c"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("stages", [None, late])
def test_the_best_of_240_settings_is_found_in_twenty_trials(direction, stages):
    study = study_of(encoding_of("abcde", **RATE), direction=direction)
    settings = [ask(study, stages) for _ in range(20)]
    assert {"order": best_order("abcde", 5), "learning_rate": 0.1} in settings


def test_scores_of_prefixes_help():
    """Seven trials of seven auxiliaries have up to 49 stages to learn from."""
    regrets = []
    for stages in (None, late):
        best = []
        for seed in range(5):
            study = study_of(encoding_of("abcdefg"), seed)
            best.append(max(late(ask(study, stages)["order"]) for _ in range(7)))
        regrets.append(late(best_order("abcdefg", 7)) - statistics.mean(best))
    trials_only, with_stages = regrets
    assert with_stages < 0.6 * trials_only


def test_reporting_only_the_whole_order_changes_nothing():
    """As in Iteration, whose only stage is the whole order: trials share nothing."""
    encoding = encoding_of("abcde")
    asked = []
    for reports in (False, True):
        study = study_of(encoding)
        for _ in range(8):
            trial = study.ask(encoding.distributions)
            order = encoding.decode(trial.params)["order"]
            if reports:
                trial.set_user_attr(STAGES, [[5, late(order)]])
            study.tell(trial, late(order))
        asked.append([trial.params for trial in study.trials])
    assert asked[0] == asked[1]


def test_the_best_is_found_despite_misleading_prefixes():
    study = study_of(encoding_of("abcde"))
    settings = [ask(study, lambda order: late(order) if len(order) == 5 else -2 * late(order)) for _ in range(30)]
    assert {"order": best_order("abcde", 5)} in settings


def test_the_best_number_of_auxiliaries_is_found():
    """Beyond the third, each costs two."""

    def few(order):
        return late(order) - 3.0 * max(len(order) - 3, 0)

    encoding = encoding_of("abcde", lengths=(1, 5))
    study = study_of(encoding)
    found = []
    for _ in range(30):
        trial = study.ask(encoding.distributions)
        order = encoding.decode(trial.params)["order"]
        trial.set_user_attr(STAGES, [[length, few(order[:length])] for length in range(1, len(order) + 1)])
        study.tell(trial, few(order))
        found.append(order)
    assert best_order("abcde", 3) in found


def test_only_a_prefix_better_than_all_trials_becomes_a_trial():
    encoding = encoding_of("abcd", lengths=(1, 4))
    study = study_of(encoding)
    scores = {1: 1.0, 2: 9.0, 3: 2.0, 4: 3.0}
    for order in (("a", "b", "c", "d"), ("b", "a", "c", "d"), ("c", "a", "b", "d"), ("d", "a", "b", "c")):
        study.enqueue_trial(encoding.encode({"order": order}))
        trial = study.ask(encoding.distributions)
        trial.set_user_attr(STAGES, [[n, scores[n] + ("abcd".index(order[0]) == 2)] for n in (1, 2, 3, 4)])
        study.tell(trial, 3.0)
    trial = study.ask(encoding.distributions)
    assert encoding.decode(trial.params)["order"] == ("c", "a")
    trial.set_user_attr(STAGES, [[1, 2.0], [2, 10.0]])
    study.tell(trial, 10.0)
    trained = {o[:n] for o in ("abcd", "bacd", "cabd", "dabc") for n in (1, 2, 3)}
    for _ in range(20):
        trial = study.ask(encoding.distributions)
        order = "".join(encoding.decode(trial.params)["order"])
        assert order not in trained
        trained |= {order[:n] for n in range(1, len(order) + 1)}
        trial.set_user_attr(STAGES, [[n, 1.0] for n in range(1, len(order) + 1)])
        study.tell(trial, 1.0)


def test_pending_trials_are_diverse():
    encoding = encoding_of("abcdef")
    study = study_of(encoding)
    for _ in range(12):
        ask(study)
    pending = [encoding.decode(study.ask(encoding.distributions).params)["order"] for _ in range(8)]
    assert len(set(pending)) == 8
    swaps = [sum(x != y for x, y in zip(a, b, strict=True)) for a, b in itertools.combinations(pending, 2)]
    assert statistics.mean(swaps) > 2


class CheapestSampler(OrderGPSampler):
    """Minimizes the remaining stages above all."""

    stage_weight = 50.0


@pytest.mark.parametrize(("trained", "cheap"), [(0, {"ad"}), (1, {"ad", "ba", "bd"}), (3, {"bc"})])
def test_only_trained_prefixes_of_running_trials_are_shared(trained, cheap):
    encoding = encoding_of("abcd")
    study = optuna.create_study(direction="maximize", sampler=CheapestSampler(encoding, 1))
    for order in ("abcd", "abdc", "acbd", "acdb", "bcda"):
        study.enqueue_trial(encoding.encode({"order": tuple(order)}))
        trial = study.ask(encoding.distributions)
        if order != "bcda":
            trial.set_user_attr(STAGES, [[1, 0.5], [2, 0.5], [3, 0.5]])
            study.tell(trial, 1.0)
    trial.set_user_attr(STAGES_TRAINED, trained)
    assert "".join(encoding.decode(study.ask(encoding.distributions).params)["order"])[:2] in cheap


def test_a_reloaded_study_suggests_the_same(tmp_path):
    def opened():
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
        storage = optuna.storages.JournalStorage(backend)
        sampler = OrderGPSampler(encoding_of("abcdef", **RATE), 1)
        return optuna.create_study(
            study_name="one", storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
        )

    study = opened()
    encoding = study.sampler.encoding
    for _ in range(5):
        trials = [study.ask(encoding.distributions) for _ in range(3)]
        for trial in reversed(trials):
            study.tell(trial, late(encoding.decode(trial.params)["order"]))
    again = opened()
    there = again.ask(encoding.distributions)
    again.tell(there, state=optuna.trial.TrialState.FAIL)
    fresh, used = (each.sampler.candidates(each, study.trials[there.number]) for each in (opened(), study))
    assert encoding.decode(there.params) == next(used) == next(fresh)


@pytest.mark.parametrize("lengths", [(None, None), (3, 6)])
def test_twenty_auxiliaries_are_searched_locally(lengths):
    names = [f"c{number}" for number in range(20)]
    rule = OrderRule({name: str(number % 4) for number, name in enumerate(names)}, adjacent_differ=True)
    encoding = encoding_of(names, rule, lengths, learning_rate=Range(0.01, 0.2, log=True))
    study = study_of(encoding)
    scores = []
    for _ in range(14):
        trial = study.ask(encoding.distributions)
        setting = encoding.decode(trial.params)
        assert rule.allows(setting["order"])
        assert len(setting["order"]) in encoding.lengths
        assert 0.01 <= setting["learning_rate"] <= 0.2
        scores.append(int(setting["order"][-1][1:]) + 5 * setting["learning_rate"])  # the higher the last, the better
        study.tell(trial, scores[-1])
    assert statistics.mean(scores[7:]) > statistics.mean(scores[:4]) + 3


def test_infinite_scores_are_ignored():
    study = study_of(encoding_of("abcd"))
    for score in (1.0, float("inf"), 2.0, 3.0, -float("inf"), 1.5):
        study.tell(study.ask(study.sampler.encoding.distributions), score)
    assert len({setting_key(ask(study)) for _ in range(5)}) == 5
