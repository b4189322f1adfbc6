"""Results of trainings that were never run, for tests of what is made of them."""

from pathlib import Path

from munchray.files import write_json
from munchray.tagging.scoring import SpanCounts
from munchray.training.trial_results import EpochMetrics, TrialResult, write_epochs, write_result
from munchray.tuning.folder import search_folder, trial_folder
from munchray.tuning.study import Study

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space:
  learning_rate: [0.1, 0.05]
  order: {of: auxiliaries}
embeddings: [{train: {characters: forward}}]
"""


def counts_of(f1):
    """A thousand gold spans and as many found: F1 to a tenth of a percent."""
    right = round(10 * f1)
    return SpanCounts(right, 1000 - right, 1000 - right)


def write_trial(folder, settings, dev_f1, corpora=None, updates=9):
    """What a finished trial leaves, except for weights."""
    folder.mkdir(parents=True)
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    write_epochs(folder, [EpochMetrics(1, 1, "s", 1, 9, 0.1, 1.0, 0.0, 0.0, 0.0, 700.0, 0.0, 1.0)])
    dev = {corpus: counts_of(dev_f1) for corpus in corpora or [settings.main]} if dev_f1 is not None else {}
    write_result(folder, TrialResult(dev, list(dev.values())[:1], [], updates, 1.5, "digest"))


def finish(store, training, dev_f1=None, test_f1=50.0, updates=9):
    """A finished training: ``dev_f1`` after training on train, ``test_f1`` after training on train and dev."""
    settings, folder = training.settings, store.folder_of(training)
    corpora = [settings.main, *(settings.auxiliaries if settings.regime == "multi_task" else ())]
    if not (folder / "result.json").exists():
        write_trial(folder, settings, dev_f1 if settings.trained_on == "train" else None, corpora, updates)
    if settings.trained_on != "train":
        halves = [counts_of(test_f1), counts_of(test_f1)]
        sentences = {corpus: [[c.tp, c.fp, c.fn] for c in halves] for corpus in corpora}
        write_json(folder / "test.json", {"data": dict.fromkeys(corpora, "test"), "sentences": sentences})


def finish_all(plan, store, dev=lambda settings: 50.0, test=lambda settings: 50.0, updates=lambda settings: 9):
    """Every training of a plan, by formulas over its settings."""
    while left := [training for training in dict.fromkeys(plan(store)) if not store.finished(training)]:
        for training in left:
            finish(store, training, dev(training.settings), test(training.settings), updates(training.settings))


def searched(job, scores):
    """A search of the job whose trials came to these dev scores."""
    folder = Path(search_folder(job))
    study = Study.open(job, folder)
    for score in scores:
        suggestion = study.suggest()
        write_trial(trial_folder(folder, suggestion.number), job.trial(suggestion.values), score)
        study.complete(suggestion.number, score, {})
    write_json(folder / "job.json", {"job": job.model_dump(mode="json"), "data": "data"})
