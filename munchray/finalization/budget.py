"""Equal budgets: models are compared after equally many parameter updates, not epochs.

Trainings to convergence take the updates they need and are not adjusted. At fixed length (``anneal: linear``) a regime
of one stage would otherwise make a fraction of the updates of a regime of seven.
"""

from __future__ import annotations

from munchray.settings import TrialSettings


def updates_per_main_batch(settings: TrialSettings) -> int:
    """Updates of a fixed-length training per batch of the main corpus, summed over all stages.

    Stack and Iteration pass over main once per auxiliary and epoch, each time with as many auxiliary batches (paper,
    Algorithms 1 to 4). multi_task trains one model for all corpora: it passes over main as often as single_aux, and
    makes more updates than any other regime.
    """
    updates = {"single_task": 1, "stack": 2 * len(settings.auxiliaries), "iteration": 2 * len(settings.auxiliaries)}
    return settings.max_epochs * updates.get(settings.regime, 2)


def match_updates(settings: TrialSettings, other: TrialSettings) -> TrialSettings:
    """Set the epochs of a fixed-length training so that it makes as many updates as ``other``, to the nearest epoch."""
    if settings.anneal != "linear":
        return settings
    one_epoch = settings.model_copy(update={"max_epochs": 1})
    epochs = max(1, round(updates_per_main_batch(other) / updates_per_main_batch(one_epoch)))
    return settings.model_copy(update={"max_epochs": epochs})
