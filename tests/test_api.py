"""The Python API: names that are imported when they are used, and each function on real trainings of seconds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import munchray as mr
from munchray import settings
from munchray.corpora.samples import generate

ROOT = Path(__file__).parents[1]
JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space:
  order: {of: auxiliaries, length: {min: 1}}
sampler: grid
embeddings: [{train: {characters: forward, hidden_size: 16, epochs: 1}}]
trials: 2
hidden_size: 16
batch_size: 8
max_epochs: 2
max_sentences: {train: 80, dev: 40}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("api")
    (made / "tiny.yaml").write_text(JOB + f"storage: {made / 'runs'}\n")
    return made


def test_importing_munchray_imports_no_library():
    heavy = ("torch", "ray", "mlflow", "optuna", "flair", "numpy", "pandas", "pydantic", "rich", "yaml")
    code = f"import sys, munchray; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_and_hides_no_package():
    packages = {path.name for path in (ROOT / "munchray").iterdir() if path.is_dir()}
    packages |= {path.stem for path in (ROOT / "munchray").glob("*.py")}
    for name in mr.__all__:
        assert getattr(mr, name) is not None
        assert name not in packages
    assert set(mr.__all__) <= set(dir(mr))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = mr.serach


def test_load_job_takes_changes_of_any_kind(folder):
    job = mr.load_job(folder / "tiny.yaml", trials=7, **{"max_sentences.train": 60, "device": "cpu"})
    assert (job.trials, job.max_sentences.train, job.device) == (7, 60, "cpu")
    with pytest.raises(mr.InputError, match=r"Did you mean 'trials'\?") as caught:
        mr.load_job(folder / "tiny.yaml", trails=7, batch_size=0)
    assert len(caught.value.problems) == 2


def test_read_corpus_gives_sentences_of_tokens_and_tags(tmp_path):
    sentences = mr.read_corpus("sample-gene-1", "dev")
    assert sentences == generate("sample-gene-1")["dev"]
    (tmp_path / "train.tsv").write_text("Fever\tB-D\n\n")
    ((tokens, tags),) = mr.read_corpus(tmp_path)
    assert (tokens, tags) == (("Fever",), ("B-D",))
    with pytest.raises(mr.InputError, match="one of train, dev, test"):
        mr.read_corpus("sample-gene-1", "tests")


def test_train_needs_no_search_and_its_model_tags(folder):
    shown = []

    class Shown(mr.Progress):
        def epoch_ended(self, trial, report):
            shown.append(report.epoch)

    trained = mr.train(folder / "tiny.yaml", progress=Shown())
    assert shown == [1, 2, 3, 4]  # two stages of two epochs
    assert trained.scores["sample-disease-1"]["f1"] == pytest.approx(trained.result.dev_f1("sample-disease-1"))
    assert len(trained.model().tag([["Fever", "was", "seen"]])[0]) == 3
    again = mr.train(folder / "tiny.yaml", progress=mr.Progress())
    assert again.result.weights_digest == trained.result.weights_digest


def test_a_job_without_a_search_space_trains_and_is_not_searched(folder, tmp_path):
    text = (folder / "tiny.yaml").read_text()
    space = "search_space:\n  order: {of: auxiliaries, length: {min: 1}}\n"
    (tmp_path / "alone.yaml").write_text(text.replace(space, ""))
    job = mr.load_job(tmp_path / "alone.yaml", regime="single_task", auxiliaries=[])
    assert mr.train(job, progress=mr.Progress()).result.updates > 0
    with pytest.raises(mr.InputError, match="nothing varies, so there is nothing to search"):
        mr.search(job)


def test_a_space_of_orders_keeps_no_regime_from_being_trained(folder):
    job = settings.load_job(folder / "tiny.yaml", ["regime=single_task", "auxiliaries=[]"], search=False)
    assert mr.train(job, progress=mr.Progress()).result.stages[0].auxiliaries == ()


@pytest.mark.slow
def test_the_readmes_snippet_searches_and_tags(folder):
    """The README's snippet, with a smaller job and what it gives printed."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    code = code.replace("jobs/quickstart.yaml", "tiny.yaml").replace("trials=6", "trials=2")
    code = re.sub(r"^result\.ranking", "print(result.ranking.to_json())", code, flags=re.MULTILINE)
    code += 'result.plot().savefig("progress.png")'
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "trial 0000  dev F1" in done.stderr  # progress, as plain lines
    assert "champion of models:/tiny" in done.stderr
    assert (folder / "progress.png").stat().st_size > 1000

    found = mr.results(folder / "tiny.yaml")
    table = found.ranking
    assert json.loads(table.to_json()) == json.loads(done.stdout.splitlines()[0])
    assert list(table["dev_f1"]) == sorted(table["dev_f1"], reverse=True)
    assert [tuple(order) for order in table["order"]] == [trial.order for trial in found.trials]
    assert found.best.number == table["trial"][0]
    (worst,) = [trial.number for trial in found.trials if trial.number != found.best.number]
    sentence = ["Severe", "hepatitis", "was", "seen", "."]
    registered = mr.load_model("models:/tiny@champion", tracking_uri=f"sqlite:///{found.found.folder}/mlflow.db")
    assert registered.tag([sentence]) == found.best_model().tag([sentence])
    assert found.best_model(worst).main == "sample-disease-1"
    with pytest.raises(mr.InputError, match="a finished trial"):
        found.best_model(99)
    with pytest.raises(mr.InputError, match="one of positions, paths, progress"):
        found.plot("pie")


@pytest.mark.slow
def test_the_notebook_of_the_quickstart_runs(tmp_path):
    """With a smaller search: the cells are what is proved."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "load_job(" in cell.source]
    smaller = f"trials=2, max_epochs=2, storage={str(tmp_path)!r}, **{{'max_sentences.train': 80}}"
    cell.source = cell.source.replace("trials=6", smaller)
    shown = []

    class Watching(NotebookClient):
        def process_message(self, msg, *where):
            if msg["msg_type"] == "update_display_data":
                shown.append(msg["content"]["data"]["text/html"])
            return super().process_message(msg, *where)

    Watching(notebook, timeout=400, resources={"metadata": {"path": str(ROOT / "examples")}}).execute()
    assert any("reading corpora" in html for html in shown)
    assert "2 of 2 trials" in shown[-1]
    assert "best dev F1" in shown[-1]
    outputs = {n: "".join(map(str, cell.get("outputs", []))) for n, cell in enumerate(notebook.cells)}
    search = next(n for n, cell in enumerate(notebook.cells) if "mr.search(" in cell.source)
    assert "dev_precision" in outputs[search + 1]
    assert "image/png" in outputs[search + 2]
