"""The contract of every sampler: allowed settings, no repeats, reproducible after a reload. Judge: enumeration."""

from __future__ import annotations

import itertools
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from toys import study_job

from munchray.corpora.catalogue import ENTITY_TYPES
from munchray.errors import InputError
from munchray.orders import OrderRule
from munchray.samplers.registry import SAMPLERS, SpaceExhausted, make_sampler
from munchray.samplers.search_space import SpaceEncoding, setting_key
from munchray.settings.dimensions import Choices, OrderSpace, Range
from munchray.settings.space import SearchSpace
from munchray.tuning.study import Study

AUXILIARIES = ("a", "b", "c", "d")
RULE = OrderRule({"a": "disease", "b": "disease", "c": "gene", "d": "species"}, adjacent_differ=True)
GRID = {"learning_rate": Choices((0.1, 0.05)), "batch_size": Choices((16, 32))}
PAPER = SearchSpace(**GRID, order=OrderSpace(adjacent_differ=True))
SHORTER = SearchSpace(**GRID, order=OrderSpace(adjacent_differ=True, min_length=1))
RANGES = SearchSpace(
    learning_rate=Range(0.01, 0.2, log=True),
    batch_size=Range(8, 64, step=8, integer=True),
    word_dropout=Range(0.0, 0.3, step=0.1),
    hidden_size=Range(16, 256, log=True, integer=True),
    order=OrderSpace(adjacent_differ=True, min_length=2, max_length=3),
)


def space_of(sampler: str) -> SearchSpace:
    """The space a sampler is tested on: `sorted` needs short orders too."""
    return SHORTER if sampler == "sorted" else PAPER


def lengths_of(sampler: str) -> tuple[int, ...]:
    return (1, 2, 3, 4) if sampler == "sorted" else (4,)


def encoding_of(sampler: str) -> SpaceEncoding:
    return SpaceEncoding(space_of(sampler), RULE, AUXILIARIES)


def open_study(folder: Path, sampler: str, seed: int = 1) -> Study:
    return Study.open(study_job(folder, space_of(sampler), RULE, AUXILIARIES, sampler, seed), folder)


def score(values: dict[str, Any]) -> float:
    """Higher for c late and for the higher learning rate."""
    return 10.0 * "".join(values["order"]).find("c") + 30.0 * values["learning_rate"]


def run(study: Study, trials: int) -> list[tuple[int, Any]]:
    tried = []
    for _ in range(trials):
        suggestion = study.suggest()
        if suggestion is None:
            break
        study.complete(suggestion.number, score(suggestion.values))
        tried.append((suggestion.number, setting_key(suggestion.values)))
    return tried


def every_setting(lengths: tuple[int, ...]) -> set[Any]:
    orders = [o for n in lengths for o in itertools.permutations(AUXILIARIES, n) if RULE.allows(o)]
    return {
        setting_key({"learning_rate": rate, "batch_size": size, "order": order})
        for rate, size, order in itertools.product((0.1, 0.05), (16, 32), orders)
    }


every_sampler = pytest.mark.parametrize("sampler", sorted(SAMPLERS))
finite_space = pytest.mark.parametrize(("space", "lengths"), [(PAPER, (4,)), (SHORTER, (1, 2, 3, 4))])


@finite_space
def test_encoding_enumerates_and_round_trips_every_setting(space, lengths):
    encoding = SpaceEncoding(space, RULE, AUXILIARIES)
    listed = list(encoding.all_settings())
    assert len(listed) == encoding.size == len(every_setting(lengths))
    assert set(map(setting_key, listed)) == every_setting(lengths)
    for setting in listed:
        params = encoding.encode(setting)
        assert params.keys() == encoding.distributions.keys()
        assert encoding.decode(params) == setting


@pytest.mark.parametrize("space", [PAPER, RANGES])
def test_unit_coordinates_round_trip(space):
    encoding = SpaceEncoding(space, RULE, AUXILIARIES)
    for setting in itertools.islice(encoding.random_settings(seed=5), 200):
        coordinates = encoding.to_unit(setting)
        assert all(0 <= coordinate <= 1 for coordinate in coordinates)
        assert encoding.from_unit(coordinates) == pytest.approx({name: setting[name] for name in encoding.axes})
    low, high = (encoding.from_unit([end] * len(encoding.axes)) for end in (0.0, 1.0))
    axes = space.dimensions()
    assert low == pytest.approx({name: axis.low for name, axis in axes.items()})
    assert high["learning_rate"] == pytest.approx(0.1 if space is PAPER else 0.2)


def test_random_orders_are_uniform():
    draws = SpaceEncoding(PAPER, RULE, AUXILIARIES).random_settings(seed=3)
    counts: dict[Any, int] = {}
    for setting in itertools.islice(draws, 6000):
        counts[setting["order"]] = counts.get(setting["order"], 0) + 1
    assert len(counts) == 12
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 31.3  # chi-squared, 11 degrees, p = .001


@every_sampler
def test_a_finite_space_is_exhausted_without_repeats(sampler, tmp_path):
    study = open_study(tmp_path, sampler)
    tried = [setting for _, setting in run(study, 1000)]
    assert len(tried) == len(set(tried))
    assert set(tried) == every_setting(lengths_of(sampler))
    assert study.suggest() is None
    assert study.counts() == {"finished": len(tried), "running": 0, "failed": 0}


@pytest.mark.parametrize("sampler", ["random", "tpe", "order_gp"])
def test_ranges_stay_in_bounds_and_on_their_steps(sampler, tmp_path):
    study = Study.open(study_job(tmp_path, RANGES, RULE, AUXILIARIES, sampler), tmp_path)
    assert study.size is None
    for number in range(25):
        values = study.suggest().values
        study.complete(number, values["learning_rate"] + len(values["order"]))
        assert 0.01 <= values["learning_rate"] <= 0.2
        assert values["batch_size"] in range(8, 65, 8)
        assert type(values["batch_size"]) is int
        assert min(abs(values["word_dropout"] - step) for step in (0.0, 0.1, 0.2, 0.3)) < 1e-12
        assert 16 <= values["hidden_size"] <= 256
        assert len(values["order"]) in (2, 3)
        assert RULE.allows(values["order"])


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_space_of_stepped_ranges_is_exhausted(sampler, tmp_path):
    space = SearchSpace(
        word_dropout=Range(0.0, 0.3, step=0.1), batch_size=Range(1, 9, step=3, integer=True), hidden_size=Choices((7,))
    )
    study = Study.open(study_job(tmp_path, space, RULE, (), sampler), tmp_path)
    assert study.size == 12
    for number in range(12):
        study.complete(number, study.suggest().values["batch_size"])
    assert study.suggest() is None
    assert len({setting_key(trial.values) for trial in study.finished()}) == 12


@every_sampler
def test_pending_trials_differ(sampler, tmp_path):
    study = open_study(tmp_path, sampler)
    run(study, 12)
    pending = [study.suggest() for _ in range(8)]
    settings = {setting_key(each.values) for each in (*pending, *study.finished())}
    assert len(settings) == 20
    assert study.running() == pending


@every_sampler
def test_suggestions_depend_on_the_seed_alone(sampler, tmp_path):
    trials = 30 if sampler == "sorted" else 15  # 16 single auxiliaries, 4 sorted orders, then random ones
    first, again, other = (
        run(open_study(tmp_path / name, sampler, seed=seed), trials) for name, seed in (("1", 1), ("2", 1), ("3", 2))
    )
    assert first == again
    assert first != other


@every_sampler
def test_a_new_process_resumes_with_the_same_suggestions(sampler, tmp_path):
    whole = run(open_study(tmp_path / "whole", sampler), 24)
    half = run(open_study(tmp_path / "half", sampler), 13)
    code = (
        "import sys, json; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_samplers as t;"
        "print(json.dumps(t.run(t.open_study(Path(sys.argv[2]), sys.argv[3]), 11)))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "half"), sampler]
    rest = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert json.loads(json.dumps(half)) + rest == json.loads(json.dumps(whole))


@every_sampler
def test_a_failed_setting_is_retried_once_after_all_others(sampler, tmp_path):
    study = open_study(tmp_path, sampler)
    failed = study.suggest()
    study.fail(failed.number, "the machine burned")
    rest = [setting_key(study.suggest().values) for _ in range(study.size - 1)]
    assert set(rest) == every_setting(lengths_of(sampler)) - {setting_key(failed.values)}
    again = study.suggest()
    assert again.values == failed.values
    study.fail(again.number, "again")
    assert study.suggest() is None


@every_sampler
def test_an_enqueued_trial_comes_first_and_is_not_repeated(sampler, tmp_path):
    encoding = encoding_of(sampler)
    study = optuna.create_study(sampler=make_sampler(sampler, encoding, 1))
    wanted = {"learning_rate": 0.05, "batch_size": 32, "order": ("a", "c", "b", "d")}
    study.enqueue_trial(encoding.encode(wanted))
    settings = [encoding.decode(study.ask(encoding.distributions).params) for _ in range(encoding.size)]
    assert settings[0] == wanted
    assert set(map(setting_key, settings)) == every_setting(lengths_of(sampler))


@every_sampler
def test_samplers_work_in_plain_optuna(sampler):
    encoding = encoding_of(sampler)
    study = optuna.create_study(sampler=make_sampler(sampler, encoding, 1))
    for _ in range(encoding.size):
        study.tell(study.ask(encoding.distributions), 1.0)
    with pytest.raises(SpaceExhausted, match=f"all {encoding.size} settings"):
        study.ask(encoding.distributions)
    assert [trial.state.name for trial in study.trials[encoding.size :]] == ["FAIL"]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS.keys() - {"sorted"}))
def test_exactly_the_allowed_orders_of_the_paper_are_suggested(sampler):
    seven = [name for name in ENTITY_TYPES if name != "ncbi-disease"]
    rule = OrderRule(ENTITY_TYPES, adjacent_differ=True)
    encoding = SpaceEncoding(SearchSpace(order=OrderSpace(adjacent_differ=True)), rule, seven)
    made = make_sampler(sampler, encoding, 1)
    study = optuna.create_study(sampler=made)
    for number in range(6):
        study.tell(study.ask(encoding.distributions), number)
    suggested = {setting["order"] for setting in made.candidates(study, study.trials[-1])}
    allowed = {order for order in itertools.permutations(seven) if rule.allows(order)}
    assert len(allowed) == 1968
    assert suggested == allowed
    assert all(encoding.decode(encoding.encode({"order": order}))["order"] == order for order in allowed)


class CountingEncoding(SpaceEncoding):
    """Counts calls of `decode`."""

    calls = 0

    def decode(self, params):
        self.calls += 1
        return super().decode(params)


def test_ended_trials_are_decoded_once():
    encoding = CountingEncoding(SearchSpace(order=OrderSpace()), OrderRule({}), "abcdefg")
    study = optuna.create_study(sampler=make_sampler("random", encoding, 1))
    pending = study.ask(encoding.distributions)
    for _ in range(200):
        study.tell(study.ask(encoding.distributions), 1.0)
    study.tell(pending, 1.0)
    before = encoding.calls
    study.ask(encoding.distributions)
    assert encoding.calls - before < 10


@every_sampler
def test_one_sampler_serves_two_studies(sampler):
    encoding = encoding_of(sampler)
    shared = make_sampler(sampler, encoding, 1)
    studies = [optuna.create_study(sampler=shared) for _ in range(2)]
    alone = optuna.create_study(sampler=make_sampler(sampler, encoding, 1))
    for _ in range(12):
        for study in (*studies, alone):
            trial = study.ask(encoding.distributions)
            study.tell(trial, score(encoding.decode(trial.params)))
    first, second, third = ([trial.params for trial in study.trials] for study in (*studies, alone))
    assert first == second == third


def test_unknown_samplers_and_unsuitable_spaces_are_refused():
    encoding = SpaceEncoding(RANGES, RULE, AUXILIARIES)
    with pytest.raises(InputError, match=r"there is no 'random_search'.*Did you mean 'random'") as unknown:
        make_sampler("random_search", encoding, 1)
    assert len(unknown.value.problems) == 1
    with pytest.raises(InputError, match=r"learning_rate: a continuous range cannot be walked as a grid"):
        make_sampler("grid", encoding, 1)
    twelve = [f"a{n}" for n in range(12)]
    with pytest.raises(InputError, match=r"order: the sampler sorted .*length: \{min: 1\}"):
        make_sampler("sorted", SpaceEncoding(PAPER, RULE, AUXILIARIES), 1)
    with pytest.raises(InputError, match=r"learning_rate: a continuous range cannot be listed"):
        make_sampler("sorted", encoding, 1)
    for name in ("order_gp", "sorted"):
        with pytest.raises(InputError, match=f"order: the sampler {name}"):
            make_sampler(name, SpaceEncoding(SearchSpace(**GRID), RULE, ()), 1)
    many = SpaceEncoding(SearchSpace(order=OrderSpace()), OrderRule(dict.fromkeys(twelve, "gene")), twelve)
    with pytest.raises(InputError, match=r"479,001,600 orders are too many for a grid"):
        make_sampler("grid", many, 1)
    assert len(next(many.random_settings(seed=1))["order"]) == 12


def test_an_unsatisfiable_rule_is_refused():
    rule = OrderRule(dict.fromkeys("ab", "gene"), adjacent_differ=True)
    with pytest.raises(InputError, match=r"no order of a, b satisfies"):
        SpaceEncoding(PAPER, rule, ["a", "b"])


def best_of_forty(sampler: str, seed: int) -> float:
    """The best value where each auxiliary has a linear effect of its position."""
    names, rng = tuple("abcdefg"), random.Random(seed)
    slopes = {name: rng.gauss(0, 1) for name in names}
    rule = OrderRule(dict(zip(names, "xyzxyzx", strict=True)), adjacent_differ=True)
    encoding = SpaceEncoding(PAPER, rule, names)
    study = optuna.create_study(sampler=make_sampler(sampler, encoding, seed), direction="maximize")
    for _ in range(40):
        trial = study.ask(encoding.distributions)
        values = encoding.decode(trial.params)
        effect = sum(slopes[name] * position for position, name in enumerate(values["order"]))
        study.tell(trial, effect + 20 * values["learning_rate"])
    return float(study.best_value)


@pytest.mark.slow
def test_models_beat_random_search():
    order_gp, tpe, chance = (
        statistics.mean(best_of_forty(sampler, seed) for seed in range(8)) for sampler in ("order_gp", "tpe", "random")
    )
    assert order_gp > tpe > chance
