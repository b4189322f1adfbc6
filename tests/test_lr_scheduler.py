"""The learning rate against hand-worked cases, and against Flair."""

import random

import pytest
from toys import toy_settings

from munchray.training.lr_scheduler import LRScheduler


def run(losses, **changes):
    """The learning rate after each loss."""
    schedule = LRScheduler.begin(toy_settings(learning_rate=0.1, max_epochs=1000, **changes))
    rates = []
    for loss in losses:
        schedule.step(loss)
        rates.append(schedule.learning_rate)
    return rates


def test_rate_halves_after_four_epochs_in_a_row_without_a_new_minimum():
    assert run([5, 4, 4, 4.5, 4, 4.1, 3.9]) == [0.1] * 5 + [0.05, 0.05]


def test_an_equal_loss_is_no_progress_and_the_counter_starts_again_after_a_cut():
    assert run([1] * 9) == [0.1] * 4 + [0.05] * 4 + [0.025]


def test_a_new_minimum_resets_the_counter():
    assert run([5, 6, 6, 6, 4, 6, 6, 6, 3]) == [0.1] * 9


def test_a_stage_ends_when_the_rate_is_below_the_floor():
    schedule = LRScheduler.begin(toy_settings(learning_rate=0.1, min_learning_rate=1e-4, max_epochs=1000))
    while not schedule.finished:
        schedule.step(1.0)
    assert schedule.epochs == 1 + 4 * 10  # 0.1 / 2**10 is the first below 1e-4
    assert schedule.learning_rate == pytest.approx(0.1 / 2**10)


def test_a_stage_ends_at_max_epochs_even_while_the_loss_falls():
    schedule = LRScheduler.begin(toy_settings(max_epochs=3))
    for loss in (3, 2, 1):
        assert not schedule.finished
        schedule.step(loss)
    assert schedule.finished


def test_linear_annealing_falls_evenly_and_ends_at_zero():
    schedule = LRScheduler.begin(toy_settings(anneal="linear", learning_rate=0.1, max_epochs=4))
    rates = []
    while not schedule.finished:
        rates.append(schedule.learning_rate)
        schedule.step(1.0)
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize("taken_after", range(8))
def test_a_resumed_schedule_goes_on_the_same(taken_after):
    settings = toy_settings(learning_rate=0.1, max_epochs=1000)
    losses = [3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    whole, resumed = LRScheduler.begin(settings), LRScheduler.begin(settings)
    for loss in losses[:taken_after]:
        resumed.step(loss)
    resumed = LRScheduler.resume(settings, resumed.state())
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
