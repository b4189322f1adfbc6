"""Warm starts: comparable searches become observations, others are refused with the reason."""

from __future__ import annotations

import dataclasses
import itertools
import json

import optuna
import pytest

from munchray.errors import InputError
from munchray.orders import OrderRule
from munchray.samplers.base import STAGES
from munchray.samplers.registry import make_sampler
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings import load_job
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace
from munchray.tagging.scoring import SpanCounts
from munchray.training.trial_results import StageResult, TrialResult, write_result
from munchray.tuning.folder import search_folder, trial_folder
from munchray.tuning.warm_start import PriorSearch

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
sampler: order_gp
search_space: {learning_rate: [0.1, 0.05], order: {of: auxiliaries, length: 2}}
embeddings: [{train: {subwords: 8}}]
"""
NAMES = ("sample-disease-2", "sample-gene-1", "sample-species-1")
FINGERPRINTS = {"sample-disease-1": "m", **{name: name for name in NAMES}}


@pytest.fixture
def load(tmp_path):
    (tmp_path / "job.yaml").write_text(JOB)

    def with_overrides(*overrides):
        return load_job(tmp_path / "job.yaml", [f"storage={tmp_path / 'runs'}", *overrides])

    return with_overrides


def searched(job, fingerprints=FINGERPRINTS):
    """Write a search to disk that tried every setting."""
    encoding = SpaceEncoding(job.search_space, job.order_rule(), job.auxiliaries)
    folder = search_folder(job)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(
        json.dumps({"job": job.model_dump(mode="json"), "data": "d", "corpora": fingerprints})
    )
    for number, values in enumerate(encoding.all_settings()):
        settings, path = job.trial(values), trial_folder(folder, number)
        path.mkdir(parents=True)
        (path / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
        counts = SpanCounts(50 + number, 50 - number, 50 - number)
        stages = [
            StageResult(settings.auxiliaries[:length], 40.0 + number, 10)
            for length in range(1, len(values["order"]) + 1)
        ]
        write_result(path, TrialResult({job.main: counts}, [counts], stages, 20, 1.0, "digest"))
    return job


def test_finished_trials_and_their_prefixes_become_outcomes(load):
    searched(load("name=old", "seed=2"))
    found = PriorSearch("old", load()).outcomes
    assert len(found) == 2 * 6
    assert found[3].setting == {"learning_rate": 0.1, "order": ("sample-gene-1", "sample-species-1")}
    assert found[3].value == pytest.approx(53.0)
    assert found[3].prefix_values == ((1, 43.0),)


def test_other_folders_are_read_and_trials_outside_the_space_ignored(load, tmp_path):
    old = searched(load("name=old", "search_space.learning_rate=[0.2, 0.1]", f"storage={tmp_path / 'elsewhere'}"))
    named = f"warm_start=[{search_folder(old)}]"
    found = PriorSearch(load(named).warm_start[0], load()).outcomes
    assert {outcome.setting["learning_rate"] for outcome in found} == {0.1}
    some = load("auxiliaries=[sample-gene-1, sample-species-1, sample-chemical-1]", "search_space.order={length: 3}")
    found = PriorSearch(str(search_folder(old)), some).outcomes
    assert {outcome.setting["order"] for outcome in found} == set(itertools.permutations(NAMES[1:]))
    fixed = load("search_space={order: {length: 2}}", "learning_rate=0.2")
    assert len(PriorSearch(str(search_folder(old)), fixed).outcomes) == 6
    assert PriorSearch(str(search_folder(old)), fixed).outcomes[0].setting.keys() == {"order"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hidden_size=64"], "its hidden_size is 256, not 64, so scores are not comparable. Leave it out"),
        (["regime=iteration"], 'its regime is "stack", not "iteration"'),
        (["main=sample-gene-2"], 'its main is "sample-disease-1", not "sample-gene-2"'),
        (["max_sentences=100"], "its max_sentences.train is null, not 100"),
        (["embeddings=[{train: {subwords: 9}}]"], "its embeddings is "),
        (["search_space.learning_rate=[0.4]"], "none of its 12 finished trials lies in this search space"),
        (["warm_start=[older]"], "there is no search in "),
        (["name=old"], "a search cannot learn from itself"),
    ],
)
def test_incomparable_searches_are_refused(load, overrides, message):
    searched(load("name=old"))
    job = load("warm_start=[old]", *overrides)
    with pytest.raises(InputError) as caught:
        [PriorSearch(named, job) for named in job.warm_start]
    assert message in str(caught.value)


def test_every_difference_is_reported(load):
    searched(load("name=old"))
    with pytest.raises(InputError) as caught:
        PriorSearch("old", load("hidden_size=64", "max_epochs=3", "seed=5"))
    assert [problem.found.split()[1] for problem in caught.value.problems] == ["hidden_size", "max_epochs"]


def test_changed_corpora_are_refused(load):
    searched(load("name=old"))
    earlier = PriorSearch("old", load())
    earlier.check_corpora({**FINGERPRINTS, "sample-chemical-1": "new here"})
    with pytest.raises(InputError, match="text, tags or embeddings of sample-gene-1 differ"):
        earlier.check_corpora({**FINGERPRINTS, "sample-gene-1": "changed"})
    searched(load("name=ancient"), fingerprints={})
    with pytest.raises(InputError, match="recorded no fingerprints of its corpora"):
        PriorSearch("ancient", load()).check_corpora(FINGERPRINTS)


def test_other_samplers_refuse_a_warm_start(load):
    with pytest.raises(InputError, match="the sampler tpe learns only from its own trials"):
        load("warm_start=[old]", "sampler=tpe")


def suggested_first(earlier, stages):
    """The first three orders of five that order_gp suggests where a late and e early are good."""
    rule, names = OrderRule({}), "abcde"
    encoding = SpaceEncoding(SearchSpace(order=OrderSpace(False, 5, 5)), rule, names)
    study = optuna.create_study(direction="maximize", sampler=make_sampler("order_gp", encoding, 1, earlier))
    orders = []
    for _ in range(3):
        trial = study.ask(encoding.distributions)
        orders.append(encoding.decode(trial.params)["order"])
        trial.set_user_attr(STAGES, stages)
        study.tell(trial, orders[-1].index("a") - orders[-1].index("e"))
    return orders, study


def test_the_first_suggestion_learns_from_earlier_outcomes(load):
    searched(load("name=old"))
    (first, *_) = PriorSearch("old", load()).outcomes
    orders = [tuple(order) for order in ("bcdae", "ebcda", "abecd", "becad", "cadbe", "ecbad", "debca", "adcbe")]
    earlier = [
        dataclasses.replace(first, number=n, setting={"order": order}, value=float(order.index("a") - order.index("e")))
        for n, order in enumerate(orders)
    ]
    found, study = suggested_first(earlier, [[1, 0.0]])
    assert len(study.trials) == 3  # earlier outcomes are no trials of this study
    assert max(order.index("a") - order.index("e") for order in found) == 4
