"""Equal budgets: models are compared after equally many parameter updates, never after equally many epochs.

A training that goes on until it has converged takes the updates it needs, and is left alone. Of those of fixed length
(``anneal: linear``) a regime of one stage would make a fraction of the updates of one of seven.
"""

from __future__ import annotations

from munchray.settings import TrialSettings


def updates_a_batch(settings: TrialSettings) -> int:
    """Updates that a training of fixed length makes for each batch of the main corpus, in all stages together.

    Stack and Iteration pass over main once per auxiliary and epoch, each time with as many auxiliary batches (paper,
    Algorithms 1 to 4). The one model of multi_task serves all corpora: it counts as if it passed over main as often as
    single_aux, and makes more updates than any.
    """
    a_pass = {"single_task": 1, "stack": 2 * len(settings.auxiliaries), "iteration": 2 * len(settings.auxiliaries)}
    return settings.max_epochs * a_pass.get(settings.regime, 2)


def as_long_as(settings: TrialSettings, other: TrialSettings) -> TrialSettings:
    """With so many epochs that a training of fixed length makes the updates of the other, to the nearest epoch."""
    if settings.anneal != "linear":
        return settings
    one_epoch = settings.model_copy(update={"max_epochs": 1})
    epochs = max(1, round(updates_a_batch(other) / updates_a_batch(one_epoch)))
    return settings.model_copy(update={"max_epochs": epochs})
