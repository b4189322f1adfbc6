"""The record of a search: what is told is kept, and what a crash leaves behind is put right."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from toys import study_job, toy_settings

from munchray.errors import InputError
from munchray.orders import OrderRule
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace
from munchray.training.events import TrialAssignment
from munchray.training.trial_results import EpochMetrics
from munchray.tuning.study import FinishedTrial, Study

AUXILIARIES = ("bc2gm", "linnaeus", "s800")
RULE = OrderRule({"bc2gm": "gene", "linnaeus": "species", "s800": "species"}, adjacent_differ=True)
SPACE = SearchSpace(learning_rate=Choices((0.1, 0.05)), order=OrderSpace(adjacent_differ=True))


def open_study(folder: Path, sampler: str = "random") -> Study:
    return Study.open(study_job(folder, SPACE, RULE, AUXILIARIES, sampler, name="ncbi_disease_stack"), folder)


def reported(folder, number, *, updates=1, dev_f1=math.nan, stage=1):
    """A trial, and one report of its curve."""
    numbers = {**dict.fromkeys((field.name for field in fields(EpochMetrics)), 1.0), "stage_name": "s"}
    report = EpochMetrics(**{**numbers, "updates": updates, "dev_f1": dev_f1, "stage": stage})
    return TrialAssignment(number, "job", toy_settings(), folder), report


def as_optuna_sees_it(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return optuna.load_study(study_name="ncbi_disease_stack", storage=storage)


def test_plain_optuna_reads_names_orders_curves_and_reasons(tmp_path):
    study = open_study(tmp_path)
    assert study.size == 4
    good, bad = study.suggest(), study.suggest()
    for epoch in (1, 2):
        study.epoch_ended(*reported(tmp_path, good.number, updates=epoch, dev_f1=50.0 + epoch))
    study.epoch_ended(*reported(tmp_path, good.number, updates=3))
    study.complete(good.number, 52.0, {"updates": 120})
    study.fail(bad.number, "out of memory")

    seen = as_optuna_sees_it(tmp_path)
    assert seen.metric_names == ["dev_f1"]
    assert seen.direction == optuna.study.StudyDirection.MAXIMIZE
    first, second = seen.trials
    assert first.user_attrs["order"] == " > ".join(good.values["order"])
    assert json.loads(first.user_attrs["values"]) == {**good.values, "order": list(good.values["order"])}
    assert first.user_attrs["updates"] == 120
    assert first.intermediate_values == {1: 51.0, 2: 52.0}
    assert set(first.params) == {"learning_rate", "key.bc2gm", "key.linnaeus", "key.s800"}
    assert (second.state.name, second.user_attrs["reason"]) == ("FAIL", "out of memory")
    (finished,) = study.finished()
    assert finished == FinishedTrial(good.number, good.values, 52.0, finished.ended)
    assert timedelta(0) <= datetime.now() - finished.ended < timedelta(minutes=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_makes_a_failed_trial(value, tmp_path):
    study = open_study(tmp_path)
    study.complete(study.suggest().number, value)
    assert study.counts() == {"finished": 0, "running": 0, "failed": 1}
    assert study.failed() == [(0, f"dev_f1 is {value}")]


def test_trials_that_ran_when_the_search_died_are_adopted_with_their_numbers(tmp_path):
    before = open_study(tmp_path)
    first, second, third = (before.suggest() for _ in range(3))
    before.complete(second.number, 60.0)

    after = open_study(tmp_path)
    assert after.running() == [first, third]
    after.complete(first.number, 61.0)
    after.fail(third.number, "stopped")
    assert [(trial.number, trial.dev_f1) for trial in after.finished()] == [(0, 61.0), (1, 60.0)]
    assert after.suggest().number == 3


def test_the_first_ending_of_a_trial_stays(tmp_path):
    study = open_study(tmp_path)
    done, broken = study.suggest().number, study.suggest().number
    study.complete(done, 60.0)
    study.fail(broken, "first")
    for number in (done, broken):
        study.complete(number, 99.0, {"late": True})
        study.fail(number, "second")
        study.epoch_ended(*reported(tmp_path, number, updates=9, dev_f1=1.0))
    assert [trial.dev_f1 for trial in study.finished()] == [60.0]
    assert study.failed() == [(broken, "first")]
    assert "late" not in as_optuna_sees_it(tmp_path).trials[done].user_attrs


def test_half_a_line_left_by_a_killed_process_is_dropped(tmp_path):
    study = open_study(tmp_path)
    study.complete(study.suggest().number, 60.0)
    with (tmp_path / "study.journal").open("a") as journal:
        journal.write('{"op_code":4,"worker_id":"')
    again = open_study(tmp_path)
    again.complete(again.suggest().number, 61.0)
    assert [trial.dev_f1 for trial in open_study(tmp_path).finished()] == [60.0, 61.0]


def test_every_place_where_a_process_can_die_leaves_a_study_that_goes_on(tmp_path):
    study = open_study(tmp_path)
    study.complete(study.suggest().number, 60.0)
    study.suggest()
    lines = (tmp_path / "study.journal").read_bytes().splitlines(keepends=True)
    for kept in range(len(lines) + 1):
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / "study.journal").write_bytes(b"".join(lines[:kept]))
        cut = open_study(folder)
        for trial in cut.running():
            cut.complete(trial.number, 1.0)
        while (suggestion := cut.suggest()) is not None:
            cut.complete(suggestion.number, 2.0)
        assert cut.counts()["running"] == 0
        assert len({json.dumps(trial.values) for trial in cut.finished()}) == len(cut.finished()) == 4


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path):
    for text in ("my diary", "my diary\n", '{"op": 1}\n', "[]\n{}\n"):
        (tmp_path / "study.journal").write_text(text)
        with pytest.raises(InputError, match=r"study.journal: is not an Optuna journal.*Move it away"):
            open_study(tmp_path)
        assert (tmp_path / "study.journal").read_text() == text


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written: .*Choose another storage"):
        open_study(tmp_path / "file" / "job")


def test_another_space_under_the_same_name_is_refused(tmp_path):
    study = open_study(tmp_path)
    study.complete(study.suggest().number, 60.0)
    other = SearchSpace(learning_rate=Choices((0.1, 0.2)), order=OrderSpace(adjacent_differ=True))
    with pytest.raises(InputError, match="learning_rate"):
        Study.open(study_job(tmp_path, other, RULE, AUXILIARIES, name="ncbi_disease_stack"), tmp_path)


def test_a_running_trial_says_how_many_stages_are_behind_it_once_each(tmp_path):
    study = open_study(tmp_path, "order_gp")
    trial = study.suggest()
    for behind in (0, 1, 1, 2):
        study.epoch_ended(*reported(tmp_path, trial.number, stage=behind + 1))
    journal = (tmp_path / "study.journal").read_text()
    assert journal.count("stages_trained") == 2
    (begun,) = study._sampler.history(study._study).trained_prefixes
    assert begun == {**trial.values, "order": trial.values["order"][:2]}
    study.complete(trial.number, 50.0)
    assert study._sampler.history(study._study).trained_prefixes == []
