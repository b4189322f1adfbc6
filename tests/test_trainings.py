"""Trainings handed out: what is finished is never repeated, what fails is known, what changed is refused."""

from dataclasses import replace

import pytest
from fake_trainings import JOB, finish, finish_all

from munchray.errors import InputError
from munchray.finalization.trainings import (
    PlannedTrainings,
    ResultStore,
    Training,
    all_trained,
    fresh_seeds,
    record_data,
)
from munchray.settings import load_job
from munchray.training.trial_results import read_result


class Unleased:
    """A lease that is never lost."""

    def check(self):
        pass


class Data:
    """The fingerprints of a `DataSpec`."""

    def __init__(self, own, tests=()):
        self.tests = dict(tests)
        self.fingerprint = lambda: own


def planned(job, plan, store):
    return PlannedTrainings(job, plan, store, Unleased())


def ended(work, store, trial):
    work.trial_finished(trial, read_result(trial.folder))


@pytest.fixture
def job(tmp_path):
    (tmp_path / "j.yaml").write_text(JOB)
    return load_job(tmp_path / "j.yaml", [f"storage={tmp_path / 'runs'}"])


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "runs" / "j" / "final", {"j": "data"})


def on(job, rate, trained_on="train"):
    settings = job.first_trial().model_copy(update={"learning_rate": rate, "trained_on": trained_on})
    return Training("j", settings, () if trained_on == "train" else (job.main,))


def two_steps(job):
    """Two learning rates on train; the better one on train and dev."""

    def plan(scores):
        tried = [on(job, 0.1), on(job, 0.05)]
        yield from tried
        found = [scores.dev_score(training) for training in tried]
        if None not in found:
            best = tried[found.index(max(found))].settings.learning_rate
            yield on(job, best, "train+dev")

    return plan


def test_fresh_seeds_are_none_of_the_searchs_and_the_first_stay():
    assert fresh_seeds(1, 3) == fresh_seeds(1, 5)[:3]
    assert len({1, *fresh_seeds(1, 50)}) == 51
    assert all(0 <= seed < 2**32 for seed in fresh_seeds(1, 50))
    assert not set(fresh_seeds(1, 5)) & set(fresh_seeds(2, 5))


def test_what_dev_decides_is_handed_out_once_dev_has_decided(job, store):
    work = planned(job, two_steps(job), store)
    assert work.trials_left == 3
    first, second = work.next_assignment(), work.next_assignment()
    assert (work.next_assignment(), work.waits_for_results) == (None, True)
    finish(store, on(job, 0.1), dev_f1=40.0)
    ended(work, store, first)
    assert (work.next_assignment(), work.waits_for_results) == (None, True)
    finish(store, on(job, 0.05), dev_f1=60.0)
    ended(work, store, second)
    last = work.next_assignment()
    assert (last.settings.learning_rate, last.settings.trained_on) == (0.05, "train+dev")
    finish(store, on(job, 0.05, "train+dev"))
    ended(work, store, last)
    assert (work.next_assignment(), work.waits_for_results, work.trials_left) == (None, False, 0)
    assert work.complete


def test_what_is_finished_is_not_handed_out_again_and_a_model_without_its_test_score_is(job, store):
    finish(store, on(job, 0.1), dev_f1=40.0)
    finish(store, on(job, 0.05), dev_f1=60.0)
    unscored = on(job, 0.05, "train+dev")
    finish(store, unscored)
    (store.folder_of(unscored) / "test.json").unlink()
    work = planned(job, two_steps(job), ResultStore(store.folder, {"j": "data"}))
    assert [work.next_assignment().folder, work.next_assignment()] == [store.folder_of(unscored), None]


def test_a_training_that_failed_is_worse_than_any_and_the_plan_goes_on(job, store):
    work = planned(job, two_steps(job), store)
    first, second = work.next_assignment(), work.next_assignment()
    work.trial_failed(second, "the loss became nan")
    finish(store, on(job, 0.1), dev_f1=1.0)
    ended(work, store, first)
    assert work.next_assignment().settings.learning_rate == 0.1
    assert not work.complete  # the last one never ended


def test_other_data_is_another_training(job, store):
    other = ResultStore(store.folder, {"j": "other data"})
    finish(store, on(job, 0.1), dev_f1=40.0)
    assert store.finished(on(job, 0.1))
    assert not other.finished(on(job, 0.1))


def test_data_that_changed_is_refused_and_what_others_noted_stays(tmp_path):
    record_data(tmp_path, {"a": Data("1", {"a": "2"})})
    record_data(tmp_path, {"b": Data("3")})
    record_data(tmp_path, {"a": Data("1"), "b": Data("3")})
    with pytest.raises(InputError, match="changed since these trainings began: test of a"):
        record_data(tmp_path, {"a": Data("1", {"a": "scrambled"})})


def test_whether_anything_is_left_is_known_without_reading_corpora(job, store):
    plan = two_steps(job)
    assert not all_trained(plan, store.folder, ["j"])
    record_data(store.folder, {"j": Data("data")})
    assert not all_trained(plan, store.folder, ["j"])
    finish_all(plan, store)
    assert all_trained(plan, store.folder, ["j"])


def test_a_trial_on_train_is_written_as_before_there_were_others(job):
    settings = job.first_trial()
    assert "trained_on" not in settings.model_dump(mode="json")
    both = settings.model_copy(update={"trained_on": "train+dev"})
    assert both.model_dump(mode="json")["trained_on"] == "train+dev"
    assert type(both)(**both.model_dump(mode="json")) == both
    assert replace(on(job, 0.1), settings=both) == Training("j", both)
    assert both.signature() != settings.signature()
