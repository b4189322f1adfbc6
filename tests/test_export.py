"""From a search on the command line to exported models: registry, run ids, both formats, a full disk."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from munchray.cli.app import app

pytestmark = pytest.mark.slow  # a search on Ray, Flair, MLflow

JOB = """
main: sample-disease-1
regime: single_task
search_space: {learning_rate: [0.2, 0.1]}
embeddings: [{train: {characters: forward, hidden_size: 48, epochs: 1}}]
trials: 2
hidden_size: 8
max_epochs: 1
max_sentences: {train: 60, dev: 30}
storage: "runs [1]"
"""
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from munchray.cli.app import main
sys.argv[1:] = {words!r}
main()
"""


@dataclass
class Searched:
    """A folder with a finished search, the output of the command, and its MLflow store.

    Attributes:
        seen: what ``results --json`` showed while the search ran.
    """

    folder: Path
    stdout: str
    stderr: str
    seen: list[dict]

    @property
    def uri(self):
        return f"sqlite:///{self.folder}/runs [1]/tiny/mlflow.db"

    def run_of(self, trial):
        from mlflow import MlflowClient

        client = MlflowClient(self.uri, self.uri)
        experiment = client.get_experiment_by_name("tiny").experiment_id
        runs = client.search_runs([experiment], f"tags.`munchray.trial` = '{trial}'" if trial is not None else "")
        return next(run.info.run_id for run in runs if trial is not None or "munchray.trial" not in run.data.tags)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(JOB)
    words = [sys.executable, "-m", "munchray", "search", "tiny.yaml"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen, in_folder = [], ["--set", f"storage={folder / 'runs [1]'}"]
    while process.poll() is None:
        if (folder / "runs [1]/tiny/job.json").exists() and len(seen) < 3:
            shown = CliRunner().invoke(app, ["results", str(folder / "tiny.yaml"), "--json", *in_folder])
            seen.append(json.loads(shown.stdout))
        time.sleep(0.2)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return Searched(folder, stdout, stderr, seen)


@pytest.fixture
def munchray(searched, monkeypatch):
    """Run a command in the folder of the search, check its exit code and return its output."""

    def run(*words, code=0):
        monkeypatch.chdir(searched.folder)
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_is_shown_while_it_runs_and_when_it_has_ended(searched, munchray):
    assert len(searched.seen) == 3
    assert "Traceback" not in searched.stderr
    assert "munchray export tiny.yaml --to models/tiny" in searched.stdout
    ranked = json.loads(munchray("results", "tiny.yaml", "--json"))
    assert [len(ranked[key]) for key in ("trials", "failed", "running")] == [2, 0, 0]
    plain = munchray("results", "tiny.yaml").splitlines()[:3]
    column = plain[0].split("\t").index("trial")
    assert [line.split("\t")[column] for line in plain[1:]] == [f"{t['number']:04d}" for t in ranked["trials"]]
    again = munchray("search", "tiny.yaml")
    assert "All 2 trials of tiny are done" in again
    assert again.endswith(searched.stdout)


def test_a_trial_is_exported_by_its_number(searched, munchray):
    trials = json.loads(munchray("results", "tiny.yaml", "--json"))["trials"]
    target = "models/tiny"
    assert f"trial {trials[0]['number']:04d} is now in models/tiny" in munchray("export", "tiny.yaml", "--to", target)
    munchray("export", "tiny.yaml", "--to", target, "--trial", trials[1]["number"])
    before = contents(searched.folder / "models")
    refused = munchray("export", "tiny.yaml", "--to", target, "--trial", 5, code=2)
    numbers = ", ".join(str(trial["number"]) for trial in trials)
    assert f"--trial: 5; expected a finished trial ({numbers})" in refused
    assert "not a model folder" in munchray("export", "tiny.yaml", "--to", "runs [1]", code=2)
    assert contents(searched.folder / "models") == before
    scores = json.loads((searched.folder / "models/tiny/scores.json").read_text())
    assert (scores["trial"], scores["settings"]["main"]) == (trials[1], "sample-disease-1")
    (searched.folder / "text.txt").write_text("fever")
    assert munchray("predict", target, "text.txt").startswith("fever\t")


def test_registration_is_idempotent(searched, munchray):
    assert "is version 1 and champion of models:/tiny" in searched.stderr
    assert "is already version 1 and champion of models:/tiny" in munchray("register", "tiny.yaml")
    winner = munchray("register", "tiny.yaml", "--quiet").split()[1]
    other = 1 - int(winner)
    assert f"trial {other:04d} is now version 2 and champion" in munchray("register", "tiny.yaml", "--trial", other)
    assert f"trial {winner} is already version 1 and champion" in munchray("register", "tiny.yaml")
    assert "has not been finalized" in munchray("register", "tiny.yaml", "--final", code=2)


def test_a_model_is_exported_by_the_id_of_a_run(searched, munchray, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow.set_tracking_uri leaves it in a process
    munchray("export", "tiny.yaml", "--trial", 1, "--to", "models/by-job")
    found = ["--tracking-uri", searched.uri]
    assert "trial 0001 is now in" in munchray("export", searched.run_of(1), *found, "--to", "models/by-run")
    by_job, by_run = (contents(searched.folder / "models" / name) for name in ("by-job", "by-run"))
    assert list(by_job.values()) == list(by_run.values())
    assert "is now in" in munchray("export", searched.run_of(None), *found, "--trial", 0, "--to", "models/best")
    assert "but" in munchray("export", searched.run_of(1), *found, "--trial", 0, "--to", "models/x", code=2)

    unknown = munchray("export", "0" * 32, *found, "--to", "models/x", code=2)
    assert f"run {'0' * 32}: no such run in sqlite:///" in unknown
    assert "--tracking-uri: not given" in munchray("export", searched.run_of(1), "--to", "models/x", code=2)
    nowhere = munchray("export", "0" * 32, "--tracking-uri", "sqlite:////nowhere/ml.db", "--to", "x", code=2)
    assert "there is no database /nowhere/ml.db" in nowhere
    assert "Did you mean 'flair'?" in munchray("export", "tiny.yaml", "--format", "flare", "--to", "x", code=2)
    assert not (searched.folder / "models" / "x").exists()


def test_invalid_registered_names_are_refused(munchray):
    for name in ("a/b", "a:b", "a b"):
        output = munchray("register", "tiny.yaml", "--set", f"name={name}", code=2)
        assert "name" in output
        assert "etters, digits" in output


@pytest.mark.parametrize("form", ["munchray", "flair"])
def test_full_disk_keeps_the_old_export(searched, munchray, form):
    target = f"exports/{form}"
    words = ["export", "tiny.yaml", "--quiet", "--format", form, "--to", target]
    munchray(*words)
    before = contents(searched.folder / "exports")
    limited = [sys.executable, "-c", LIMITED.format(words=words)]
    done = subprocess.run(limited, cwd=searched.folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "failed: " in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(searched.folder / "exports") == before
