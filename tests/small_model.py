"""A model for tests of what is done with models, trained in seconds on a sample corpus."""

from dataclasses import dataclass
from pathlib import Path

from munchray.models.export import TrainedModel, export_folder
from munchray.settings import Job, load_job
from munchray.training.data import DataSpec
from munchray.training.inputs import open_embedders, prepare
from munchray.training.machine import use_threads
from munchray.training.trial import run_trial

JOB = """
main: sample-disease-1
regime: single_task
search_space: {learning_rate: [0.2]}
learning_rate: 0.2
locked_dropout: 0.1
embeddings: [{train: {characters: forward, hidden_size: 24, epochs: 2}}, {train: {subwords: 16}}]
hidden_size: 24
batch_size: 8
max_epochs: 14
anneal: linear
max_sentences: {train: 300, dev: 60}
"""


@dataclass
class SmallModel:
    """An exported model and the trial it comes from."""

    job: Job
    data: DataSpec
    trial: Path
    folder: Path


def train_and_export(folder: Path) -> SmallModel:
    """Into `folder`, a folder of the test session."""
    (folder / "small.yaml").write_text(JOB)
    job = load_job(folder / "small.yaml", [f"storage={folder / 'runs'}"])
    data = prepare(job, lambda line: None)
    settings = job.first_trial()
    use_threads(1)
    run_trial(settings, data.open(settings), folder / "trial")
    trained = TrainedModel("trial", folder / "trial" / "model", open_embedders(job), {})
    export_folder(trained, folder / "exported")
    return SmallModel(job, data, folder / "trial", folder / "exported")
