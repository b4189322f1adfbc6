"""Invalid input through the real commands: one clear error, exit code 2, no files written."""

import gzip
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from fake_trainings import searched
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.settings import load_job

JOB = """\
main: mine
auxiliaries: [other]
regime: stack
corpora:
  mine: {folder: mine, entity_type: disease}
  other: {folder: other, entity_type: gene}
search_space: {learning_rate: [0.1, 0.05], order: {of: auxiliaries}}
embeddings: [{train: {subwords: 8, epochs: 1}}]
trials: 2
hidden_size: 4
max_epochs: 1
storage: runs
"""
SENTENCES = "The\tO\ncystic\tB-D\nfibrosis\tI-D\n.\tO\n\nNo\tO\nrickets\tB-D\n.\tO\n"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder with a job file and two small corpora, as a user has it."""
    monkeypatch.chdir(tmp_path)
    for corpus, tags in (("mine", "D"), ("other", "G")):
        for split in ("train", "dev"):
            path = tmp_path / corpus / f"{split}.tsv"
            path.parent.mkdir(exist_ok=True)
            path.write_text(SENTENCES.replace("-D", f"-{tags}"))
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.fixture(scope="session")
def model(small_model):
    return small_model.folder


def files_under(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(project, *words, command="search", stdin=None):
    """What the command says when it refuses; it must have changed nothing."""
    before = files_under(project)
    result = CliRunner().invoke(app, [command, *map(str, words)], input=stdin)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert files_under(project) == before
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized()
    return result.stderr


def refused_job(project, old, new):
    """The same for a job file in which something is replaced."""
    assert old in JOB
    (project / "job.yaml").write_text(JOB.replace(old, new))
    return refused(project, "job.yaml")


def has(text, *parts):
    missing = [part for part in parts if part not in text]
    assert not missing, text


# The job file


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("trials: 2", "trails: 2", ["job.yaml:9: unknown key 'trails'", "Did you mean 'trials'?"]),
        ("trials: 2", "trials: many", ['job.yaml:9: trials is "many"; expected a positive whole number']),
        ("trials: 2", "learning_rate: -0.1", ["job.yaml:9: learning_rate is -0.1; expected a positive number"]),
        ("trials: 2", "learning_rate: 0", ["job.yaml:9: learning_rate is 0; expected a positive number"]),
        ("trials: 2", "learning_rate: .nan", ["job.yaml:9: learning_rate is NaN; expected a positive number"]),
        ("[0.1, 0.05]", "[0.1, -0.05]", ["job.yaml:7: learning_rate", "-0.05"]),
        ("trials: 2", "batch_size: 0", ["job.yaml:9: batch_size is 0; expected a positive whole number"]),
        ("trials: 2", "batch_size: 16.5", ["job.yaml:9: batch_size is 16.5; expected a positive whole number"]),
        ("[other]", "[other, mine]", ["job.yaml:2:", "mine", "main"]),
        ("[other]", "[other, other]", ["job.yaml:2:", "other", "twice"]),
        ("[other]", "[othr]", ["job.yaml:2: unknown corpus 'othr'", "Did you mean 'other'?"]),
        ("trials: 2", "first_orders: [[othr]]", ["job.yaml:9: first_orders[0] names 'othr'", "Did you mean 'other'?"]),
        (
            "trials: 2",
            "first_orders: [[other, other]]",
            ["job.yaml:9:", "other twice", "has 2 auxiliaries"],
        ),
        ("trials: 2", "warm_start: [old]", ["job.yaml:9:", "the sampler tpe learns only from its own trials"]),
        ("trials: 2", "sampler: order_gp\nwarm_start: [old]", ["there is no search in ", "runs/old"]),
        (
            "auxiliaries}}",
            "auxiliaries, length: 2}}",
            ["job.yaml:7: order.length is 2, but the job lists 1"],
        ),
        ("auxiliaries}}", "auxiliaries, length: {min: 3, max: 2}}}", ["job.yaml:7: order.length goes from 3 to 2"]),
        ("{learning_rate: [0.1, 0.05], order: {of: auxiliaries}}", "{}", ["job.yaml:7: search space empty; expected"]),
        ("hidden_size: 4", "hidden_size: [4", ["job.yaml:11: YAML syntax error"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_job_file_is_named_with_its_line(project, old, new, parts):
    has(refused_job(project, old, new), *parts)


def test_an_anchor_bomb_is_refused_before_it_grows(project):
    bomb = "a: &a [1, 1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghi"))
    (project / "job.yaml").write_text(JOB + bomb)
    has(refused(project, "job.yaml"), "job.yaml:13: anchors (&) and aliases (*) are not supported")


def test_an_order_rule_that_no_order_satisfies_is_explained(project):
    text = JOB.replace("[other]", "[other, third]").replace("{of: auxiliaries}", "{adjacent: different_type}")
    (project / "job.yaml").write_text(text.replace("  other:", "  third: {folder: other, entity_type: gene}\n  other:"))
    said = refused(project, "job.yaml")
    has(
        said,
        "no order satisfies adjacent: different_type with 2 out of other (gene), third (gene)",
        "set adjacent: any",
    )


def test_all_mistakes_of_the_job_file_come_at_once_and_so_do_those_of_corpora_embeddings_and_storage(project):
    (project / "job.yaml").write_text(JOB.replace("trials: 2", "trails: 2\nbatch_size: 0").replace("[other]", "[othr]"))
    said = refused(project, "job.yaml", "--set", "seed=x")
    assert said.count("error: ") == 4
    has(said, "'trails'", "batch_size is 0", "'othr'", "--set seed=x: seed is")

    (project / "job.yaml").write_text(JOB.replace("{train: {subwords: 8, epochs: 1}}", "nowhere.pt, pubmed-forwrd"))
    (project / "mine" / "dev.tsv").unlink()
    (project / "other" / "train.tsv").write_text("one\n\nA\tX\n")
    (project / "runs").write_text("a file")
    said = refused(project, "job.yaml")
    has(
        said,
        "nowhere.pt does not exist",
        "'pubmed-forwrd'",
        "no file for the split 'dev'",
        "train.tsv:1",
        "train.tsv:3",
    )
    has(said, "storage is")


# The corpora


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["no sentences"]),
        (b"\n\n", ["no sentences"]),
        (SENTENCES.encode() + b"\nalone\n", [":10: 1 column ('alone'); expected 2 columns as on line 1"]),
        (b"The\tO\ncystic\tDisease\n", [":2: tag 'Disease' is no IOB tag; expected O, B-TYPE or I-TYPE"]),
        (b"The\tO\ncaf\xe9\tB-D\n", [":2: invalid UTF-8 (bytes E9 at character 4)", "iconv"]),
        (
            b"a\tB-D\n" + b"b\tO\n" * 9999,
            [":1: a sentence of 10,000 tokens begins here; expected at most 2,000 tokens"],
        ),
        (b"a\tO\nb\tO\n", ["mine/train: no entities"]),
    ],
    ids=["empty file", "blank lines", "one column", "no IOB tag", "not UTF-8", "10,000 tokens", "no entity"],
)
@pytest.mark.parametrize("command", ["search", "train", "embed"])
def test_a_mistake_in_a_corpus_is_named_with_file_and_line(project, content, parts, command):
    (project / "mine" / "train.tsv").write_bytes(content)
    said = refused(project, "job.yaml", command=command)
    has(said, "mine/train", *parts)


def test_an_entity_that_begins_with_i_is_refused_in_strict_iob2(project):
    (project / "mine" / "train.tsv").write_text("The\tO\ncystic\tI-D\nfibrosis\tI-D\n")
    text = JOB.replace("mine, entity_type: disease", "mine, entity_type: disease, scheme: iob2")
    (project / "job.yaml").write_text(text)
    has(
        refused(project, "job.yaml"),
        "mine/train.tsv:2: tag 'I-D' at the start of a sentence or after 'O'; expected 'B-D' (IOB2)",
    )


def test_a_missing_split_says_what_was_looked_for_and_what_is_there(project):
    (project / "mine" / "dev.tsv").unlink()
    has(refused(project, "job.yaml"), "corpus 'mine': no file for the split 'dev'", "train.tsv", "dev.tsv or devel.tsv")


def test_labels_in_dev_that_train_never_shows_are_refused(project):
    (project / "mine" / "dev.tsv").write_text(SENTENCES.replace("B-D\n.", "B-Gene\n."))
    said = refused(project, "job.yaml")
    has(said, "mine/dev: entity types never seen in train: Gene; expected types that train has (D)", "Correct the tags")


# Embeddings and the feature store


def test_embeddings_that_are_missing_or_no_embeddings_are_refused(project):
    (project / "model.pt").write_text("a text")
    (project / "vectors").write_text("a text")
    entries = ["$HOME/nowhere.pt", "./model.pt", "words:./vectors", "."]
    said = refused(project, "job.yaml", "--set", f"embeddings={entries}")
    has(said, "nowhere.pt does not exist", "model.pt is no torch file", "vectors is no file of word vectors")
    has(said, "has no config.json")
    assert said.count("error: ") == 4


def test_a_truncated_feature_store_is_made_again_and_never_used(project):
    runner = CliRunner()
    assert runner.invoke(app, ["embed", "job.yaml"]).exit_code == 0
    tables = sorted((project / "runs" / "features").glob("*/table"))
    whole = {path: path.read_bytes() for path in tables}
    assert all(np.frombuffer(values, np.float16).any() for values in whole.values())
    tables[0].write_bytes(whole[tables[0]][:-8])
    again = runner.invoke(app, ["embed", "job.yaml"])
    assert again.exit_code == 0
    assert {path: path.read_bytes() for path in tables} == whole


# The search


def test_a_storage_folder_that_cannot_be_written_is_refused(project):
    (project / "runs").write_text("a file instead")
    has(refused(project, "job.yaml"), f"job job: storage is {project}/runs, but {project}/runs is a file")
    has(
        refused(project, "job.yaml", "--set", "storage=gs://bucket/runs"),
        "storage is of the kind gs://; expected a folder, or s3://bucket/path",
    )


@pytest.mark.parametrize("command", ["search", "train", "stages"])
def test_a_stage_cache_of_another_version_is_refused_and_left_alone(project, command):
    typed_before = CliRunner().invoke(app, ["train", "job.yaml"])
    assert typed_before.exit_code == 0, typed_before.output
    (project / "runs" / "stages" / "format.json").write_text('{"format": "munchray stages", "version": 7}')
    shutil.rmtree(project / "runs" / "job")
    said = refused(project, "job.yaml", command=command)
    has(said, "runs/stages/format.json: a stage cache of version 7; expected version 1", "Set another storage")


def test_nothing_to_resume_is_said(project):
    has(refused(project, "job.yaml", "--resume"), "there is no search to resume", "Leave --resume out")


def test_a_gpu_that_is_not_there_is_refused_before_any_training(project):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    said = refused(project, "job.yaml", "--set", "device=cuda", "--set", "resources_per_trial.gpu=1", command="train")
    has(said, "cuda, but torch sees no GPU here", "Set device: auto or cpu")


def typed(project, *words, stdin=""):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "munchray", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=project,
        input=stdin,
        timeout=400,
    )


def refused_when_typed(project, *words, stdin=""):
    before = files_under(project)
    done = typed(project, *words, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert files_under(project) == before
    return done.stderr


def test_mistakes_look_the_same_in_a_real_process(project):
    said = refused_when_typed(project, "train", "job.yaml", "--set", "batchsize=4", "--set", "batch_size=0")
    assert said.splitlines() == [
        "error: --set batch_size=0: batch_size is 0; expected a positive whole number",
        "error: --set batchsize=4: unknown key 'batchsize'. Did you mean 'batch_size'?",
    ]


def test_a_file_that_only_begins_like_a_language_model_is_refused_when_it_is_opened(project):
    (project / "model.pt").write_bytes(b"PK\x03\x04 and then nothing of the kind")
    said = refused(project, "job.yaml", "--set", "embeddings=[./model.pt]", command="embed")
    has(said, "model.pt")


TWO_SEARCHES = """
import sys
from typer.testing import CliRunner
from munchray.cli.app import app
import ray

for setting in sys.argv[1:]:
    result = CliRunner().invoke(app, ["search", "job.yaml", "--set", setting])
    print(result.exit_code, result.stderr)
    ray.shutdown()
"""


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused_before_anything_is_computed(project):
    before = files_under(project)
    settings = ["concurrent_trials=4096", "resources_per_trial.gpu=64"]
    call = [sys.executable, "-c", TWO_SEARCHES, *settings]
    done = subprocess.run(call, capture_output=True, text=True, cwd=project, timeout=400)
    has(done.stdout, "2 error: job job: concurrent_trials is 4096, but the nodes have capacity for", "at most")
    has(done.stdout, "2 error: job job: resources_per_trial asks for", "64 GPUs, which no node has")
    assert files_under(project) == before


def test_a_job_file_changed_since_the_search_is_refused_with_every_change(project):
    searched(load_job(project / "job.yaml"), [70.0])
    (project / "job.yaml").write_text(JOB.replace("hidden_size: 4", "hidden_size: 8").replace("0.05", "0.02"))
    said = refused(project, "job.yaml", "--resume")
    has(said, "hidden_size changed from 4 to 8 since the search began", "[0.1, 0.05] to [0.1, 0.02]")
    has(said, "Undo the change, or give the search another name (--set name=job-2)")
    assert said.count("error: ") == 2


# Models and text to tag


def test_a_folder_that_is_no_model_is_refused(project):
    for command, words in (("predict", ["mine", "job.yaml"]), ("evaluate", ["mine", "sample-gene-1"])):
        said = refused(project, *words, command=command)
        has(said, "mine: not a model folder; expected model.json and weights", "`munchray export` wrote")
    has(refused(project, "nowhere", "job.yaml", command="predict"), "nowhere: not a model folder")


@pytest.mark.parametrize("content", [b"", b"\n \n", "\ufeff".encode()], ids=["empty", "blank", "only a mark"])
def test_nothing_to_tag_is_said(project, model, content):
    (project / "text.txt").write_bytes(content)
    has(refused(project, model, "text.txt", command="predict"), "text.txt: nothing to tag; expected text")
    has(refused(project, model, "--columns", command="predict", stdin=content), "standard input: nothing to tag")


def test_text_that_cannot_be_read_is_named_with_its_line(project, model):
    (project / "latin.txt").write_bytes(b"good\ncaf\xe9\n")
    has(refused(project, model, "latin.txt", command="predict"), "latin.txt:2: byte 0xe9 at column 4 is not UTF-8")
    (project / "cut.txt.gz").write_bytes(gzip.compress(b"some text\n" * 100)[:30])
    has(refused(project, model, "cut.txt.gz", command="predict"), "cut.txt.gz: damaged or no gzip file")
    (project / "plain.txt.gz").write_text("plain")
    has(refused(project, model, "plain.txt.gz", command="predict"), "plain.txt.gz: damaged or no gzip file")
    (project / "gap.tsv").write_text("a\tO\n\tO\n")
    has(refused(project, model, "gap.tsv", command="predict"), "gap.tsv:2: an empty token")
    has(refused(project, model, "nowhere.txt", command="predict"), "nowhere.txt: no such file")
    has(refused(project, model, "mine", command="predict"), "mine: is a folder")
    has(refused(project, model, "-", "--output", "xml", command="predict"), "'xml'; expected one of conll, json, spans")


def test_what_cannot_be_scored_is_refused(project, model):
    for corpus, parts in (
        ("sample-gene-1/tset", ["no split 'tset'", "Did you mean 'test'?"]),
        ("sample-gen-1", ["corpus 'sample-gen-1': no corpus of that name", "Did you mean 'sample-gene-1'?"]),
        ("mine/test", ["corpus 'mine': no file for the split 'test'"]),
        ("sample-gene-1", ["entity types", "expected only types of the model", "sample-disease-1"]),
    ):
        has(refused(project, model, corpus, command="evaluate"), *parts)


@pytest.mark.parametrize("command", ["results", "export"])
def test_what_has_not_been_searched_has_no_results(project, command):
    more = ["--to", "out"] if command == "export" else []
    has(refused(project, "job.yaml", *more, command=command), "there is no search of this job", "munchray search JOB")


@pytest.mark.parametrize("words", [["search", "job.yaml", "--nope"], ["serach"], ["search"], ["export", "job.yaml"]])
def test_a_command_line_that_does_not_exist_is_refused(project, words):
    command, *more = words
    refused(project, *more, command=command)
