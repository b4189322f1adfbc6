"""Trials on toy corpora: regimes, determinism, interruption."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from toys import toy_data, toy_settings

from munchray.errors import InputError, WorkError
from munchray.training import loop
from munchray.training.curriculum import REGIMES
from munchray.training.machine import device_for
from munchray.training.trial import TrialCallbacks, TrialOptions, run_trial
from munchray.training.trial_results import read_epochs, read_result

SIZES = {"m": 30, "a": 20, "b": 25}
AUXILIARIES = {"single_task": (), "single_aux": ("a",)}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Killed(BaseException):
    """Stands for a process that dies: nothing in the product catches it."""


def dies_after(epochs):
    def report(epoch_report):
        if epoch_report.epoch == epochs:
            raise Killed

    return report


@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_every_regime_trains_with_falling_loss_and_leaves_a_whole_folder(regime, tmp_path):
    # With dropout the loss is noise from the second epoch on, and how it ends depends on the last bits of products.
    alone = AUXILIARIES.get(regime, ("a", "b"))
    settings = toy_settings(regime, alone, max_epochs=6, locked_dropout=0.0, word_dropout=0.0)
    result = run_trial(settings, toy_data(SIZES), tmp_path / "t")
    curve = read_epochs(tmp_path / "t")
    for stage in {report.stage for report in curve}:
        losses = [report.train_loss for report in curve if report.stage == stage]
        assert losses == sorted(losses, reverse=True)
    assert [report.epoch for report in curve] == list(range(1, len(curve) + 1))
    assert result == read_result(tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "epochs.jsonl",
        "model",
        "result.json",
        "settings.json",
    ]


def test_a_task_that_can_be_learned_is_learned(tmp_path):
    settings = toy_settings(max_epochs=15, locked_dropout=0.0, word_dropout=0.0)
    assert run_trial(settings, toy_data(SIZES), tmp_path).dev_f1("m") > 95


def test_the_same_settings_give_the_same_weights_bit_for_bit(tmp_path):
    data, settings = toy_data(SIZES), toy_settings()
    first = run_trial(settings, data, tmp_path / "1")
    torch.rand(7)  # whatever a process did before must not matter
    again = run_trial(settings, data, tmp_path / "2")
    other = run_trial(toy_settings(seed=2), data, tmp_path / "3")
    assert first.weights_digest == again.weights_digest != other.weights_digest


@pytest.mark.parametrize("minutes", [0.0, 1e9], ids=["checkpoint every epoch", "only at stage ends"])
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, 5])
def test_an_interrupted_trial_ends_with_the_weights_of_an_uninterrupted_one(killed_at, minutes, tmp_path):
    data, settings = toy_data(SIZES), toy_settings()
    whole = run_trial(settings, data, tmp_path / "whole")
    with pytest.raises(Killed):
        run_trial(
            settings,
            data,
            tmp_path / "cut",
            TrialOptions(checkpoint_minutes=minutes),
            TrialCallbacks(dies_after(killed_at)),
        )
    with pytest.raises(WorkError, match="no finished trial"):
        read_result(tmp_path / "cut")
    resumed = run_trial(settings, data, tmp_path / "cut")
    assert resumed.weights_digest == whole.weights_digest
    assert resumed.dev == whole.dev
    assert [r.dev_f1 for r in read_epochs(tmp_path / "cut")] == [r.dev_f1 for r in read_epochs(tmp_path / "whole")]


def test_a_finished_trial_is_read_and_not_trained_again(tmp_path):
    data, settings = toy_data(SIZES), toy_settings()
    first = run_trial(settings, data, tmp_path)
    assert run_trial(settings, data, tmp_path, callbacks=TrialCallbacks(dies_after(1))) == first


def test_a_stack_of_one_auxiliary_is_single_aux_and_a_prefix_of_longer_stacks(tmp_path):
    data = toy_data(SIZES)
    single = run_trial(toy_settings("single_aux", ("a",)), data, tmp_path / "single")
    short = run_trial(toy_settings("stack", ("a",)), data, tmp_path / "short")
    longer = run_trial(toy_settings("stack", ("a", "b")), data, tmp_path / "longer")
    assert single.weights_digest == short.weights_digest
    assert longer.stages[0] == short.stages[0] == single.stages[0]


def test_multi_task_scores_every_corpus_and_the_others_only_the_main_one(tmp_path):
    data = toy_data(SIZES)
    assert set(run_trial(toy_settings("multi_task"), data, tmp_path / "multi").dev) == {"m", "a", "b"}
    main_only = dataclasses.replace(data, dev={"m": data.dev["m"]})
    assert set(run_trial(toy_settings("concatenation"), main_only, tmp_path / "conc").dev) == {"m"}


def test_updates_follow_from_the_regime(tmp_path):
    """Main batches: ceil(30 / 4) = 8 an epoch; an auxiliary batch before each; iteration passes once per auxiliary."""
    data, epochs = toy_data(SIZES), 2
    expected = {"single_task": 8, "single_aux": 16, "concatenation": 16, "iteration": 32, "multi_task": 8 + 5 + 7}
    for regime, updates in expected.items():
        settings = toy_settings(regime, AUXILIARIES.get(regime, ("a", "b")), max_epochs=epochs)
        assert run_trial(settings, data, tmp_path / regime).updates == epochs * updates
    assert run_trial(toy_settings(max_epochs=epochs), data, tmp_path / "stack").updates == 2 * epochs * 16


def test_scores_count_every_sentence_and_sum_to_the_split(tmp_path):
    data = toy_data(SIZES)
    result = run_trial(toy_settings(), data, tmp_path)
    gold = sum(tag == "B-T" for tags in data.dev["m"].tags for tag in tags)
    assert len(result.dev_sentences) == 12
    assert sum(c.tp + c.fn for c in result.dev_sentences) == gold == result.dev["m"].tp + result.dev["m"].fn


def test_a_loss_that_is_not_finite_fails_with_advice(tmp_path):
    data = toy_data(SIZES)
    for array in data.train["m"].features.arrays:
        array *= math.inf
    with pytest.raises(WorkError, match=r"training loss became nan at learning rate 0\.5: try a lower one"):
        run_trial(toy_settings(), data, tmp_path)


def test_mean_and_sum_differ_by_the_batch_size_in_the_gradient(tmp_path):
    """With every batch full, a summed loss at rate r / batch size is the mean loss at rate r (no clipping)."""
    data = toy_data({"m": 32})
    settings = {"max_epochs": 2, "clip_norm": 1e9, "regime": "single_task", "auxiliaries": ()}
    mean = run_trial(toy_settings(learning_rate=0.04, **settings), data, tmp_path / "mean")
    total = run_trial(toy_settings(learning_rate=0.01, loss_reduction="sum", **settings), data, tmp_path / "sum")
    losses = [[r.train_loss for r in read_epochs(tmp_path / name)] for name in ("mean", "sum")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert mean.updates == total.updates == 16


def test_iob2_tags_train_as_well(tmp_path):
    settings = toy_settings(tag_scheme="iob2", max_epochs=15, locked_dropout=0.0, word_dropout=0.0)
    assert run_trial(settings, toy_data(SIZES, "iob2"), tmp_path).dev_f1("m") > 95


def test_a_mixed_batch_keeps_each_sentence_with_its_own_features_and_tags():
    data = toy_data(SIZES)
    pairs = [("a", 3), ("m", 0), ("a", 1), ("b", 7)]
    features, packing, tags, corpora = loop.assemble(pairs, data.train, torch.device("cpu"))
    assert corpora == ["a", "m", "a", "b"]
    for row, (corpus, i) in enumerate(pairs):
        split, own = data.train[corpus], packing.sentences == row
        np.testing.assert_allclose(features[own], split.features.arrays[i], rtol=2**-10)
        start = split.starts[i]
        assert tags[own].tolist() == split.tag_ids[start : start + split.lengths[i]].tolist()


def test_a_gpu_that_is_not_there_is_a_mistake_in_the_input():
    assert device_for("cpu") == "cpu"
    if not torch.cuda.is_available():
        assert device_for("auto") == "cpu"
        with pytest.raises(InputError, match="torch sees no GPU here"):
            device_for("cuda")
