"""The ``munchray`` command as people and pipes use it."""

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from made_trials import made_trial
from processes import install_sigint
from rich.console import Console
from rich.status import Status
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from typer.testing import CliRunner

from munchray import __version__
from munchray.cli import tables
from munchray.cli.app import app
from munchray.corpora.catalogue import load_split
from munchray.corpora.reader import read_columns
from munchray.models import predict
from munchray.progress import console
from munchray.tuning.ranking import Ranking

JOB = """
main: sample-disease-1
auxiliaries: [sample-gene-1]
regime: stack
search_space: {learning_rate: [0.2, 0.1], order: {of: auxiliaries}}
embeddings: [{train: {characters: forward, hidden_size: 8, epochs: 1}}]
trials: 2
hidden_size: 8
batch_size: 8
max_epochs: 2
max_sentences: {train: 60, dev: 30}
storage: "runs [1]"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a job file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(JOB)
    return tmp_path


@pytest.fixture(scope="session")
def model(small_model):
    return str(small_model.folder)


@pytest.fixture(scope="session")
def test_split(small_model):
    return load_split(small_model.data.sources[small_model.job.main], "test")


def munchray(*words, stdin=None, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def start(folder, *words, **options):
    """The command in a process of its own, which Ctrl-C reaches as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "munchray", *map(str, words)],
        cwd=folder,
        start_new_session=True,
        preexec_fn=install_sigint,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


# Help


def all_commands():
    def walk(command, name):
        yield name, command
        for inner, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*name, inner])

    return [pytest.param(*pair, id=" ".join(pair[0]) or "munchray") for pair in walk(typer.main.get_command(app), [])]


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_command_explains_itself_its_arguments_and_how_to_begin(name, command):
    said = munchray(*name, "--help").stdout
    assert command.help
    assert "xample: " in said or name == []
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def test_without_a_command_help_is_shown():
    said = munchray(code=2).output
    assert "Begin with: munchray init quickstart && munchray search quickstart.yaml" in said
    assert "evaluate" in said


def test_the_version_is_printed():
    assert munchray("--version").stdout == f"munchray {__version__}\n"


# Training


def test_training_prints_its_curve_and_the_same_command_again_only_its_result(project):
    first = munchray("train", "tiny.yaml")
    assert first.stdout.count("sample-gene-1") == 2
    assert "runs [1]/tiny/single/" in first.stdout  # brackets are no markup
    digest = first.stdout.split("weights ")[1].split()[0]
    again = munchray("train", "tiny.yaml")
    assert "has been trained before" in again.stderr
    assert digest in again.stdout
    assert "sample-gene-1" not in again.stdout

    shutil.rmtree(project / "runs [1]")
    quiet = munchray("train", "tiny.yaml", "--quiet")
    assert quiet.stderr == ""
    assert [line.split()[0] for line in quiet.stdout.splitlines()] == ["sample-disease-1:", "weights", "everything"]
    assert digest in quiet.stdout  # the same settings and seed give the same weights


@pytest.mark.slow
def test_trained_stages_are_listed_checked_and_pruned(project):
    both = ["--set", "auxiliaries=[sample-gene-1, sample-disease-2]"]
    munchray("train", "tiny.yaml", *both)
    assert len(munchray("stages", "tiny.yaml").stdout.splitlines()) == 1 + 2
    said = munchray("stages", "tiny.yaml").stdout
    assert "sample-gene-1 > sample-disease-2\tsample-disease-1\t0.1\t8\t1" in said
    again = munchray("train", "tiny.yaml", *both, "--set", "regime=single_aux").stdout
    assert again.count("sample-gene-1 ") == 2, "the curve of the stage that was there"

    weights = next(project.glob("runs*/stages/*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "its weights have been changed" in munchray("stages", "tiny.yaml", "--verify").output
    assert munchray("stages", "tiny.yaml", "--prune", "0").stdout.count("deleted") == 1
    assert len(munchray("stages", "tiny.yaml").stdout.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_stops_training_and_the_same_command_goes_on(project):
    words = ["train", "tiny.yaml", "--set", "max_epochs=12", "--set", "max_sentences.train=120"]
    process = start(project, *words)
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines[1].startswith(b"sample-gene-1")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped: the same command resumes" in said
    assert b"Traceback" not in said
    folder = project / "runs [1]" / "tiny" / "single"
    assert not list(folder.glob("*/result.json"))
    assert len(munchray(*words).stdout.splitlines()) >= 14
    assert list(folder.glob("*/result.json"))


@pytest.mark.slow
def test_a_full_disk_ends_the_work_with_a_message(project):
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); import munchray.cli.app as c"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}; sys.argv[1:] = ['train', 'tiny.yaml']; c.main()"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "failed: " in done.stderr
    assert "Traceback" not in done.stderr


# Tagging


def test_text_is_tagged_as_columns_that_can_be_read_again(model, tmp_path):
    said = munchray("predict", model, stdin="No fever here. Is it?\nÜber β-fever").stdout
    (tmp_path / "tagged.tsv").write_text(said, encoding="utf-8")
    sentences = read_columns(tmp_path / "tagged.tsv")
    assert [" ".join(s.tokens) for s in sentences] == ["No fever here .", "Is it ?", "Über β - fever"]


def test_json_offsets_point_at_the_spans(model, test_split):
    text = "\n".join("𐐀é " + " ".join(sentence.tokens) for sentence in test_split[:60])
    found = [
        json.loads(line) for line in munchray("predict", model, "--output", "json", stdin=text).stdout.splitlines()
    ]
    spans = [(row["text"], span) for row in found for span in row["spans"]]
    assert len(spans) > 20
    assert all(text[span["start"] : span["end"]] == span["text"] for text, span in spans)
    scores = [span["probability"] for _, span in spans]
    assert 0 < min(scores) < max(scores) <= 1


@pytest.mark.parametrize("compressed", [False, True])
def test_columns_are_recognised_by_their_name_or_by_an_option(model, project, compressed):
    content = "\ufeffNew York\tB-X\nfever\tO\n\nfever\tB-X\n".encode()
    for name in ("in.tsv", "in.data"):
        path = Path(f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
        lines = munchray("predict", model, path, *(["--columns"] if "data" in name else [])).stdout.splitlines()
        assert [line.split("\t")[0] for line in lines] == ["New York", "fever", "", "fever", ""]
    assert munchray("predict", model, "--columns", stdin=content).stdout.splitlines() == lines
    assert munchray("predict", model, "in.tsv.gz" if compressed else "in.tsv", "--text").stdout.splitlines() != lines


def test_spans_are_bracketed_in_a_pipe_and_coloured_on_a_terminal(model, test_split, monkeypatch):
    text = "\n".join(" ".join(sentence.tokens) for sentence in test_split[:40])
    plain = munchray("predict", model, "--output", "spans", stdin=text).stdout
    assert plain.count(" [Disease 0.") > 5
    assert "\x1b[" not in plain
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, soft_wrap=True, highlight=False))
    assert munchray("predict", model, stdin=text).stdout == ""
    assert screen.getvalue().count("]\x1b[0m") == plain.count(" [Disease ")


def test_a_long_file_is_tagged_as_it_is_read(model, monkeypatch):
    read = 0

    def lines(file):
        nonlocal read
        for number in range(3000):
            read += 1
            yield f"fever {number}\n".encode()

    monkeypatch.setattr(predict, "read_lines", lines)
    waiting = [read - done for done, _ in enumerate(predict.tag_file(Path(model), "-", False, "conll"), 1)]
    assert len(waiting) == 3000
    assert max(waiting) <= 1024


def test_progress_is_on_stderr_and_only_when_a_person_sees_it_and_not_the_text(model, monkeypatch):
    text = "fever.\n" * 250
    assert munchray("predict", model, stdin=text).stderr == ""
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True))
    said = []
    monkeypatch.setattr(Status, "update", lambda status, text: said.append(str(text)))
    assert munchray("predict", model, stdin=text).stdout.count("fever\t") == 250
    assert said == ["tagging: 100 sentences", "tagging: 200 sentences"]


def test_output_is_utf_8_in_any_locale_and_a_reader_may_stop(model, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    text = "β fever. " * 20_000
    (tmp_path / "long.txt").write_text(text.replace(". ", ".\n"), encoding="utf-8")
    process = start(tmp_path, "predict", model, "long.txt", env=environment)
    assert process.stdout.readline().decode() == "β\tO\n"
    process.stdout.close()  # as `head` does
    said = process.stderr.read()
    assert (process.wait(60), said) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_said(model, tmp_path):
    with Path("/dev/full").open("wb") as full:
        process = start(tmp_path, "predict", model, stdin=subprocess.PIPE, stdout=full)
        _, said = process.communicate(b"fever\n", timeout=60)
    assert process.returncode == 1
    assert said == b"failed: writing: No space left on device\n"


# Scoring


def test_evaluate_gives_what_seqeval_gives_for_the_predicted_file(model, test_split, project):
    folder = project / "corpus"
    folder.mkdir()
    rows = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*s, strict=True)) for s in test_split)
    (folder / "test.tsv").write_text("\n".join(rows))
    (project / "tagged.tsv").write_text(munchray("predict", model, "corpus/test.tsv").stdout)
    gold = [list(sentence.tags) for sentence in read_columns(folder / "test.tsv")]
    found = [list(sentence.tags) for sentence in read_columns(project / "tagged.tsv")]
    judge = {"mode": "strict", "scheme": IOB2, "average": "micro"}
    expected = {
        "precision": 100 * precision_score(gold, found, **judge),
        "recall": 100 * recall_score(gold, found, **judge),
        "f1": 100 * f1_score(gold, found, **judge),
        "support": sum(tag == "B-Disease" for row in gold for tag in row),
    }
    assert expected["f1"] > 20
    for corpus in ("sample-disease-1/test", "sample-disease-1", "corpus/test", "corpus", str(folder)):
        scores = json.loads(munchray("evaluate", model, corpus, "--json").stdout)
        assert scores["all"] == pytest.approx(expected)
        assert scores["Disease"] == pytest.approx(expected)
    plain = munchray("evaluate", model, "corpus", "--quiet")
    assert plain.stderr == ""
    assert plain.stdout.splitlines()[0] == "entity type\tP\tR\tF1\tspans"
    assert plain.stdout.splitlines()[2].startswith(f"all\t{expected['precision']:.2f}\t")


# Tables


def test_tables_are_tab_separated_in_a_pipe_and_drawn_on_a_terminal(monkeypatch):
    lines = munchray("corpora").stdout.splitlines()
    assert len(lines) == 17
    assert all(len(line.split("\t")) == 3 for line in lines)
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=60))
    munchray("corpora")
    drawn = screen.getvalue().splitlines()
    assert any("sample-gene-2" in line and "│" in line for line in drawn)


@pytest.mark.parametrize(("width", "lines_a_trial", "shown"), [(80, 3, "minutes"), (130, 1, "dev P")])
def test_the_ranking_is_readable_on_narrow_and_wide_terminals(monkeypatch, width, lines_a_trial, shown):
    order = ("bc5cdr-disease", "bc5cdr-chem", "bc2gm", "s800")
    trials = [made_trial(n, order, 80.5) for n in range(4)]
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=width, markup=False))
    tables.show_ranking(Ranking(trials, [(4, "loss [nan]")], [5], Path("runs")), "ncbi-disease")
    said = screen.getvalue()
    assert shown in said
    assert said.count("\n") <= 7 + lines_a_trial * len(trials)
    assert "failed 0004: loss [nan]" in said
    assert "not finished: 0005" in said
