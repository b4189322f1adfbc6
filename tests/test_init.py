"""``munchray init``: what it writes is without mistakes, works where it is written, and overwrites nothing."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.settings import load_job
from munchray.training.inputs import read_inputs

ROOT = Path(__file__).parents[1]
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to type commands in, and the variables that jobs name."""
    for variable in ("MUNCHRAY_DATA", "MUNCHRAY_EMBEDDINGS"):
        monkeypatch.setenv(variable, str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


def init(*words, code=0):
    result = CliRunner().invoke(app, ["init", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.mark.parametrize("name", JOBS)
def test_a_packaged_job_is_the_same_job_with_commands_for_its_new_folder(name, folder, monkeypatch):
    said = init(name).stdout
    assert said.endswith(f"Next: munchray search {name}.yaml\n")
    text = (folder / f"{name}.yaml").read_text()
    assert f"#     munchray search {name}.yaml" in text
    assert "jobs/" not in text
    written = load_job(Path(f"{name}.yaml"))
    assert (folder / "search_spaces").is_dir()
    monkeypatch.chdir(ROOT)
    packaged = load_job(Path("jobs", f"{name}.yaml"))
    assert written.model_copy(update={"storage": packaged.storage}) == packaged


def test_the_template_reads_corpora_of_ones_own(folder):
    assert init().stdout.splitlines() == [
        "wrote job.yaml",
        "wrote space.yaml",
        "Next: name your corpora in job.yaml, then munchray search job.yaml",
    ]
    job = load_job(Path("job.yaml"))
    assert (job.search_space.order.min_length, job.search_space.order.max_length) == (1, len(job.auxiliaries))
    for corpus in job.corpora.values():
        Path(corpus.folder).mkdir(parents=True)
        for split in ("train", "dev"):
            Path(corpus.folder, f"{split}.tsv").write_text("carcinoma\tB-Disease\n.\tO\n\n")
    assert set(read_inputs(job).corpora) == {job.main, *job.auxiliaries}


def test_another_folder_is_made_and_named_in_the_next_command():
    assert init("quickstart", "--to", "my jobs/new").stdout.splitlines() == [
        "wrote my jobs/new/quickstart.yaml",
        "wrote my jobs/new/search_spaces/quickstart.yaml",
        "Next: munchray search 'my jobs/new/quickstart.yaml'",
    ]
    assert load_job(Path("my jobs/new/quickstart.yaml")).trials == 12


def test_existing_files_are_never_overwritten(folder):
    (folder / "space.yaml").write_text("mine")
    said = init(code=2).stderr
    assert "space.yaml: exists, and init overwrites nothing. Choose another folder with --to" in said
    assert [path.name for path in folder.iterdir()] == ["space.yaml"]
    assert (folder / "space.yaml").read_text() == "mine"

    init("quickstart")
    assert "quickstart.yaml: exists" in init("quickstart", code=2).stderr


def test_jobs_may_share_a_packaged_search_space_until_it_is_edited(folder):
    init("ncbi_disease_stack")
    assert init("chemdner_iteration").stdout.startswith("wrote chemdner_iteration.yaml\nNext: ")
    (folder / "chemdner_iteration.yaml").unlink()
    (folder / "search_spaces/paper_orders.yaml").write_text("batch_size: 8")
    assert "search_spaces/paper_orders.yaml: exists" in init("chemdner_iteration", code=2).stderr


def test_an_unknown_name_is_answered_with_the_nearest(folder):
    assert re.search("no job 'quickstat'.*Did you mean 'quickstart'", init("quickstat", code=2).stderr)
    assert list(folder.iterdir()) == []
