"""``munchray embed`` and ``munchray train``: one setting, in this process. (typer)"""

from __future__ import annotations

from munchray import api
from munchray.cli.jobs import load, shown
from munchray.cli.options import JobFile, Overrides, Quiet
from munchray.progress import console
from munchray.progress.terminal import TerminalCurve, Warnings


def embed(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train or load a job's embeddings and embed its corpora, once for all trials (search does it if missing).

    Example: munchray embed jobs/quickstart.yaml
    """
    from munchray.training.inputs import prepare, read_inputs

    job, progress = load(job_file, overrides, search=False), shown(quiet)
    with progress.task("reading corpora"):
        inputs = read_inputs(job)
    with progress.task("preparing features") as show:
        data = prepare(job, show, inputs)
    console.out.print(f"Features are in {data.store}")


def train(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train one setting in this process, without Ray: the job's own values, the auxiliaries as listed.

    Example: munchray train jobs/quickstart.yaml --set learning_rate=0.05
    """
    trained = api.train(load(job_file, overrides, search=False), progress=Warnings() if quiet else TerminalCurve())
    result = trained.result
    for corpus, scores in trained.scores.items():
        shown_scores = f"P {scores['precision']:.2f}  R {scores['recall']:.2f}  F1 {scores['f1']:.2f}"
        console.out.print(f"{corpus}: dev {shown_scores}")
    console.out.print(f"weights {result.weights_digest}  {result.updates} updates  {result.seconds:.0f} s of training")
    console.out.print(f"everything is in {trained.folder}")
