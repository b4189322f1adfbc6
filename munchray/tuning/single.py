"""One training in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

from munchray import disk
from munchray.progress import Progress
from munchray.settings import Job
from munchray.storage.workspace import working_in
from munchray.training import memory
from munchray.training.events import TrialAssignment
from munchray.training.inputs import prepare, read_inputs
from munchray.training.machine import check_precision, check_threads, device_for, use_threads
from munchray.training.stage_cache import open_stage_cache
from munchray.training.trial import TrialCallbacks, TrialOptions, run_trial
from munchray.training.trial_results import TrialResult


def train_once(job: Job, progress: Progress) -> tuple[Path, TrialResult]:
    """Train the job's own values with the auxiliaries as listed; where everything lies, and what it came to.

    Raises:
        InputError: every mistake in the job, its corpora and embeddings; the device cannot do the precision.
        WorkError: the loss diverged, or a disk is away or full.
    """
    device = device_for(job.device)
    check_precision(job.precision, device)
    check_threads(job.resources_per_trial.cpu)
    cache = open_stage_cache(job.stage_storage, job.stages_gb, progress.note)
    with progress.task("reading corpora"):
        inputs = read_inputs(job)
    with progress.task("preparing features") as show:
        data = prepare(job, show, inputs)
    settings = job.first_trial()
    use_threads(job.resources_per_trial.cpu)
    storage = job.storage_path / job.name / "single" / settings.signature(data.fingerprint())
    if storage.has("result.json"):
        progress.note("This setting has been trained before; its result:")
    trial = TrialAssignment(0, job.name, settings, storage.folder)
    options = TrialOptions(device, cache, job.checkpoint_minutes)
    with (
        disk.advice(),
        working_in(storage) as work,
        progress.trials(1),
        memory.advice(settings.batch_size, device),
    ):
        progress.trial_started(trial)
        callbacks = TrialCallbacks(
            lambda report: progress.epoch_ended(trial, report), progress.update_made, work.upload, progress.warn
        )
        result = run_trial(settings, data.open(settings), work.folder, options, callbacks)
        progress.trial_finished(trial, result)
    return storage.folder, result
