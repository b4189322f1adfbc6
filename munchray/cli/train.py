"""``munchray embed`` and ``munchray train``: one setting, in this process. (typer)"""

from __future__ import annotations

from munchray import disk
from munchray.cli import progress, terminal
from munchray.cli.jobs import load, prepare_features, read
from munchray.cli.options import JobFile, Overrides, Quiet


def embed(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train or load a job's embeddings and embed its corpora, once for all trials (search does it if missing).

    Example: munchray embed jobs/quickstart.yaml
    """
    job = load(job_file, overrides)
    data = prepare_features(job, read(job, quiet), quiet)
    terminal.out.print(f"Features are in {data.store}")


def train(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train one setting in this process, without Ray: the job's own values, the auxiliaries as listed.

    Example: munchray train jobs/quickstart.yaml --set learning_rate=0.05
    """
    from munchray.storage.workspace import working_in
    from munchray.training import memory
    from munchray.training.machine import check_precision, check_threads, device_for, use_threads
    from munchray.training.stage_cache import open_stage_cache
    from munchray.training.trial import run_trial
    from munchray.tuning.search import search_storage

    job = load(job_file, overrides)
    device = device_for(job.device)
    check_precision(job.precision, device)
    check_threads(job.resources_per_trial.cpu)
    data = prepare_features(job, read(job, quiet), quiet)
    settings = job.first_trial()
    use_threads(job.resources_per_trial.cpu)
    storage = search_storage(job) / "single" / settings.signature(data.fingerprint())
    if storage.has("result.json"):
        terminal.note("This setting has been trained before; its result:", quiet=quiet)
    store = open_stage_cache(job.stage_storage, job.stages_gb, terminal.note)
    with (
        disk.advice(),
        working_in(storage) as work,
        progress.EpochLines(quiet) as lines,
        memory.advice(settings.batch_size, device),
    ):
        result = run_trial(
            settings,
            data.open(settings),
            work.folder,
            device=device,
            stage_cache=store,
            checkpoint_minutes=job.checkpoint_minutes,
            report=lines.show,
            tick=lines.tick,
            keep=work.upload,
            warn=terminal.warn,
        )
    for corpus, counts in result.dev.items():
        scores = f"dev P {counts.precision:.2f}  R {counts.recall:.2f}  F1 {counts.f1:.2f}"
        terminal.out.print(f"{corpus}: {scores}")
    terminal.out.print(f"weights {result.weights_digest}  {result.updates} updates  {result.seconds:.0f} s of training")
    terminal.out.print(f"everything is in {storage}")
