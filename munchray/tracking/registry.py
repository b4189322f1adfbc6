"""MLflow's model registry: registers and downloads models, and finds the trial of a run. (mlflow)"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from munchray.tracking import mlflow_client  # sets MLflow's variables, so it comes first

# isort: split
import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from munchray import __version__
from munchray.errors import InputError, Problem, WorkError
from munchray.files import digest, file_digest
from munchray.models import served
from munchray.models.export import TrainedModel, export
from munchray.settings import Job, load_job
from munchray.tracking.run_writer import PARENT, SEARCH, TRAINING, TRIAL

CHAMPION = "champion"
WEIGHTS = "munchray.weights"
FOLDER = "model"
"""Where a run keeps its registered model."""
BUNDLE = "bundle"
"""The exported folder among the artifacts of a registered model."""
EXAMPLE = ["Mutations of this gene cause cystic fibrosis and deafness.", ["No", "fever", "was", "seen", "."]]


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; not ``new`` if these weights had one already."""

    name: str
    version: str
    new: bool


@dataclass(frozen=True)
class Origin:
    """What a run logs: a search, one of its trials, or a training of its finalize by the name of its folder."""

    job: Job
    trial: int | None = None
    training: str | None = None

    @property
    def name(self) -> str:
        """The name of the trial or training; empty for a search."""
        if self.trial is not None:
            return f"trial {self.trial}"
        return f"training {self.training}" if self.training else ""


class Registry:
    """The runs and registered models of one MLflow store.

    Args:
        uri: of an MLflow server (``http://...``) or a database.
        where: what named it, for messages.

    Raises:
        InputError: the URI is wrong or leads nowhere.
    """

    def __init__(self, uri: str, where: str = "tracking_uri") -> None:
        self.uri = uri
        self._where = where
        with self._explained():
            mlflow_client.check_uri(uri, must_exist=True)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def origin_of(self, run_id: str) -> Origin:
        """Find the search that a run belongs to, and its trial or training.

        Raises:
            InputError: no such run, or one that munchray did not make.
        """
        with self._explained():
            tags = self._tags_of(run_id)
            if SEARCH not in tags:
                raise InputError(Problem(f"run {run_id}", "no run of munchray", "a run of a search or of a trial"))
            trial = int(tags[TRIAL]) if TRIAL in tags else None
            search_run = tags.get(PARENT, run_id)
            with TemporaryDirectory() as folder:
                path = self._client.download_artifacts(search_run, "job.json", folder)
                return Origin(load_job(Path(path)), trial, tags.get(TRAINING))  # JSON is YAML

    def register(self, name: str, trained: TrainedModel, run_tags: Mapping[str, str], card: str) -> Registered:
        """Register a model as the champion of its name; idempotent for the same weights.

        Args:
            run_tags: what the run carries that the model is kept in; the version carries them as well.
            card: Markdown.

        Raises:
            InputError: the store does not work, or has no such run.
        """
        digest = _weights_digest(trained)
        with self._explained():
            version = self._version_with(name, digest)
            new = version is None
            if version is None:
                run_id = self._run_with(run_tags)
                self._keep(run_id, trained, card)
                version = self._make_version(name, run_id, {**run_tags, WEIGHTS: digest}, card)
            self._client.set_registered_model_alias(name, CHAMPION, version)
        return Registered(name, version, new)

    def _tags_of(self, run_id: str) -> Mapping[str, str]:
        try:
            tags: Mapping[str, str] = self._client.get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            fix = "Copy the id from the run's page"
            raise InputError(Problem(f"run {run_id}", f"no such run in {self.uri}", fix=fix)) from None
        return tags

    def _version_with(self, name: str, digest: str) -> str | None:
        versions = self._client.search_model_versions(f"name = '{name}'")
        return next((str(version.version) for version in versions if version.tags.get(WEIGHTS) == digest), None)

    def _run_with(self, tags: Mapping[str, str]) -> str:
        """The id of the run with all these tags; for a search, the parent run."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        experiments = [each.experiment_id for each in self._client.search_experiments()]
        runs = self._client.search_runs(experiments, query)
        wanted = [run.info.run_id for run in runs if (PARENT in run.data.tags) == (TRIAL in tags)]
        if not wanted:
            raise InputError(Problem(self._where, f"{self.uri} has no run of this search", "the store it wrote to"))
        return str(wanted[0])

    def _keep(self, run_id: str, trained: TrainedModel, card: str) -> None:
        """Log the model as a pyfunc artifact of the run."""
        with TemporaryDirectory() as folder:
            bundle, packed = Path(folder, BUNDLE), Path(folder, FOLDER)
            export(trained, bundle, "munchray")
            mlflow.pyfunc.save_model(
                str(packed),
                python_model=served.__file__,
                artifacts={served.MODEL_ARTIFACT: str(bundle)},
                input_example=EXAMPLE,
                pip_requirements=[f"munchray=={__version__}", f"mlflow=={mlflow.__version__}"],
            )
            (packed / "README.md").write_text(card, encoding="utf-8")
            self._client.log_artifacts(run_id, str(packed), FOLDER)

    def _make_version(self, name: str, run_id: str, tags: Mapping[str, str], card: str) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{FOLDER}"
        made = self._client.create_model_version(name, source, run_id, tags=dict(tags), description=card)
        return str(made.version)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of a store that does not work into an `InputError`; others pass."""
        try:
            yield
        except (InputError, WorkError, OSError):
            raise
        except Exception as error:  # MLflow and its stores raise all kinds
            line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            found = f"'{self.uri}' does not work: {line}"
            raise InputError(Problem(self._where, found, fix=mlflow_client.FIX)) from error


@contextmanager
def downloaded(source: str, uri: str | None) -> Iterator[Path]:
    """Download a registered model as an exported folder, for as long as the context is open.

    Args:
        source: such as ``models:/quickstart@champion``.
        uri: of the MLflow store; None is that of ``MLFLOW_TRACKING_URI``.

    Raises:
        InputError: no store is named, it does not work, or it has no such model.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        expected = "tracking_uri, or the variable MLFLOW_TRACKING_URI"
        raise InputError(Problem(source, "no MLflow store is named that may have it", expected))
    name, at, alias = source.removeprefix("models:/").partition("@")
    name, _, version = name.partition("/")
    if not (name and (alias if at else version)):
        raise InputError(Problem(source, "names no version", "models:/NAME@ALIAS or models:/NAME/VERSION"))
    with TemporaryDirectory() as folder:
        try:
            mlflow_client.check_uri(uri, must_exist=True)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            number = client.get_model_version_by_alias(name, alias).version if at else version
            location = client.get_model_version_download_uri(name, number)
            path = mlflow.artifacts.download_artifacts(location, dst_path=folder, tracking_uri=uri)
        except MlflowException as error:
            found = f"{uri} has no such model: {str(error).splitlines()[0][:300]}"
            raise InputError(Problem(source, found, fix="See what there is with: mlflow ui")) from error
        yield Path(path, "artifacts", BUNDLE)


def _weights_digest(trained: TrainedModel) -> str:
    """A digest that is equal for models that tag equally."""
    return digest(file_digest(trained.folder / "weights.safetensors"), *(e.fingerprint for e in trained.embedders))
