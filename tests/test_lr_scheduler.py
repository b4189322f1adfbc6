"""The learning-rate schedule against hand-worked cases and against Flair's."""

import json
import random

import pytest
from toys import toy_settings

from munchray.training.lr_scheduler import LRScheduler


def run(losses, **changes):
    """The learning rate after each loss."""
    scheduler = LRScheduler(toy_settings(learning_rate=0.1, max_epochs=1000, **changes))
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(scheduler.learning_rate)
    return rates


def test_rate_halves_after_four_epochs_in_a_row_without_a_new_minimum():
    assert run([5, 4, 4, 4.5, 4, 4.1, 3.9]) == [0.1] * 5 + [0.05, 0.05]


def test_an_equal_loss_is_no_progress_and_the_counter_starts_again_after_a_cut():
    assert run([1] * 9) == [0.1] * 4 + [0.05] * 4 + [0.025]


def test_a_new_minimum_resets_the_counter():
    assert run([5, 6, 6, 6, 4, 6, 6, 6, 3]) == [0.1] * 9


def test_a_stage_ends_when_the_rate_is_below_the_floor():
    scheduler = LRScheduler(toy_settings(learning_rate=0.1, min_learning_rate=1e-4, max_epochs=1000))
    while not scheduler.finished:
        scheduler.step(1.0)
    assert scheduler.epochs == 1 + 4 * 10  # 0.1 / 2**10 is the first below 1e-4
    assert scheduler.learning_rate == pytest.approx(0.1 / 2**10)


def test_a_stage_ends_at_max_epochs_even_while_the_loss_falls():
    scheduler = LRScheduler(toy_settings(max_epochs=3))
    for loss in (3, 2, 1):
        assert not scheduler.finished
        scheduler.step(loss)
    assert scheduler.finished


def test_linear_annealing_falls_evenly_and_ends_at_zero():
    scheduler = LRScheduler(toy_settings(anneal="linear", learning_rate=0.1, max_epochs=4))
    rates = []
    while not scheduler.finished:
        rates.append(scheduler.learning_rate)
        scheduler.step(1.0)
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize("taken_after", range(8))
def test_a_restored_scheduler_continues_identically(taken_after):
    settings = toy_settings(learning_rate=0.1, max_epochs=1000)
    losses = [3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    whole, resumed = LRScheduler(settings), LRScheduler(settings)
    for loss in losses[:taken_after]:
        resumed.step(loss)
    state = json.loads(json.dumps(resumed.state_dict()))
    resumed = LRScheduler(settings)
    resumed.load_state_dict(state)
    for loss in losses[taken_after:]:
        resumed.step(loss)
    for loss in losses:
        whole.step(loss)
    assert resumed == whole


@pytest.mark.slow
def test_rates_equal_flairs_anneal_on_plateau_with_patience_three():
    """Flair's rule, which the paper used: `patience` bad epochs are tolerated and the next one cuts."""
    import torch
    from flair.training_utils import AnnealOnPlateau

    rng = random.Random(0)
    for _ in range(20):
        losses = [round(rng.uniform(0, 3), 1) for _ in range(60)]
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        judge = AnnealOnPlateau(optimizer, patience=3, factor=0.5, mode="min", min_lr=0.0)
        expected = []
        for loss in losses:
            judge.step(loss)
            expected.append(optimizer.param_groups[0]["lr"])
        assert run(losses) == pytest.approx(expected)
