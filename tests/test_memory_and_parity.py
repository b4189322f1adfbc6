"""The measurements of memory and of equal results run from end to end at a tiny size and say what they should."""

import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks import memory, memory_steps, parity

MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def _generated_sentences(monkeypatch, tmp_path):
    monkeypatch.delenv("MUNCHRAY_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


# Memory


MAPS_AND_OWNS = """
import mmap, sys
with open(sys.argv[1], "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    print("begun", flush=True)
    input()
    touched = sum(mapped[:: mmap.PAGESIZE])
    own = b"x" * 40 * 2**20
    print("done", flush=True)
    input()
"""


def test_private_memory_is_what_a_process_has_alone_and_features_are_counted_apart(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    file = folder / "values"
    file.write_bytes(b"x" * 20 * MEGABYTE)
    # In a process of its own: the one that runs the tests gives memory back whenever it likes.
    command = [sys.executable, "-c", MAPS_AND_OWNS, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout.readline() == b"begun\n"
        before = memory_steps.memory_of(process.pid, folder)
        process.stdin.write(b"\n")
        assert process.stdout.readline() == b"done\n"
        after = memory_steps.memory_of(process.pid, folder)
        outside = memory_steps.memory_of(process.pid, tmp_path / "elsewhere")
        process.stdin.close()
    assert after.features - before.features == pytest.approx(20, abs=0.1)
    assert after.private - before.private == pytest.approx(40, abs=2)
    assert outside.features == 0
    assert outside.private - after.private == pytest.approx(20, abs=2)  # nobody else has the file mapped


def test_processes_below_one_are_found_with_their_command_lines():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()', 'below'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        found = {}
        # just after its start a process still has its parent's command line
        while not any(title.endswith(b"below\0") for title in found.values()):
            found = memory.descendants(process.pid)
        process.stdin.close()
    assert len(found) == 1
    assert os.getpid() not in found


@pytest.mark.faults
def test_memory_of_a_search_and_of_its_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SAMPLE_EVERY_S", 0.02)  # such trials are short
    path = tmp_path / "out" / "memory.json"
    sizes = ["--inputs", "12", "--units", "4", "--sentences", "80", "--updates", "2", "--trials", "2"]
    memory.main([*sizes, "--corpora", "sample-disease-1", "sample-gene-1", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    private = {(row["process"], row["step"]): row["private"] for row in rows}
    alone = [step for process, step in private if process == "without Ray"]
    assert alone == [
        *("interpreter", "torch", "our code", "corpora and tags", "tagger", "after training", "after scoring"),
        "highest",
    ]
    assert private["without Ray", "torch"] - private["without Ray", "interpreter"] > 20
    assert private["with the imports of a Ray worker", "highest"] > private["without Ray", "highest"]
    workers = [private[process, "highest"] for process, step in private if process[-1] in "12" and step == "highest"]
    assert len(workers) in (1, 2)  # Ray may give both trials to one worker, one after the other
    assert min(workers) > private["without Ray", "torch"]


# Equal results


@pytest.fixture
def job_file(tmp_path):
    """A job of generated sentences whose embeddings are trained in a second."""
    job = {
        "main": "sample-disease-1",
        "auxiliaries": ["sample-disease-2", "sample-gene-1"],
        "regime": "stack",
        "search_space": {"batch_size": [8]},
        "embeddings": [{"train": {"subwords": 8, "epochs": 1}}],
        "hidden_size": 4,
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(job))
    return tmp_path / "tiny.yaml"


def run(tmp_path, job_file, *more):
    parity.main(
        [
            *("run", "--job", str(job_file), "--work", str(tmp_path / "work"), "--json", str(tmp_path / "parity.json")),
            *("--seeds", "1", "--epochs", "1", "--limit", "40", *more),
        ]
    )
    return json.loads((tmp_path / "parity.json").read_text())["rows"]


@pytest.mark.faults
def test_every_variant_is_trained_with_as_many_updates_and_once_only(tmp_path, job_file, capsys):
    rows = run(tmp_path, job_file)
    assert [(row["regime"], row["variant"]) for row in rows] == [
        (regime, variant) for regime in parity.REGIMES for variant in parity.VARIANTS
    ]
    assert {(row["regime"], row["updates"]) for row in rows} == {("single_task", 2), ("single_aux", 4)}
    assert len({row["weights_digest"] for row in rows}) == len(rows)
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*parity.VARIANTS, *parity.REGIMES))
    results = sorted(tmp_path.glob("work/*/result.json"))
    times = [path.stat().st_mtime_ns for path in results]
    assert len(results) == len(rows)
    assert run(tmp_path, job_file) == rows
    assert [path.stat().st_mtime_ns for path in results] == times


def test_differences_are_paired_by_regime_and_seed():
    scores = {
        "random": {("single_task", 1): 60.0, ("single_task", 2): 62.0, ("single_aux", 1): 70.0},
        "by_length": {("single_task", 1): 61.0, ("single_task", 2): 61.0, ("single_aux", 2): 5.0},
    }
    rows = [
        {"variant": variant, "regime": regime, "seed": seed, "dev_f1": score}
        for variant, of in scores.items()
        for (regime, seed), score in of.items()
    ]
    assert parity.difference(rows, "by_length", parity.REGIMES).values == (1.0, -1.0)
    assert parity.difference(rows, "by_length", ("single_aux",)).values == ()


def test_the_interval_is_that_of_students_t_table():
    found = parity.Difference((-0.1, 0.1, 0.0, 0.2, -0.2))
    assert found.mean == pytest.approx(0)
    assert found.half_width == pytest.approx(2.776 * 0.15811 / 5**0.5, abs=1e-4)  # 2.776: table, 4 degrees, two-sided


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((-0.1, 0.1, 0.0), "no loss of 0.3"),
        ((-1.0, -1.1, -0.9), "a loss of more than 0.3"),
        ((-1.0, 1.0, 0.0), "undecided; 46 pairs would decide"),
        ((0.5,), "undecided"),
    ],
)
def test_the_verdict_is_what_the_interval_allows(values, verdict):
    # 46: 1.96**2 / 0.3**2 is 43 for the normal distribution, and the t distribution is a little wider
    assert parity.Difference(values).verdict == verdict


def test_emulated_bfloat16_rounds_operands_and_results_forward_and_backward():
    left, right = torch.randn(5, 8, requires_grad=True), torch.randn(8, 3)
    with parity.EmulatedBfloat16():
        assert torch.ops.mkldnn._is_mkldnn_bf16_supported()
        product = left.bfloat16() @ right.bfloat16()
        product.float().sum().backward()

    def rounded(values):
        return values.bfloat16().float()

    expected = rounded(rounded(left.detach()) @ rounded(right))
    assert torch.equal(product.float(), expected)
    assert torch.equal(left.grad, rounded(torch.ones(5, 3) @ rounded(right).T))
    assert not torch.equal(expected, left.detach() @ right)


def test_the_job_of_the_real_measurement_names_ncbi_disease_and_one_auxiliary(monkeypatch, tmp_path):
    for variable in ("MUNCHRAY_DATA", "MUNCHRAY_EMBEDDINGS"):
        monkeypatch.setenv(variable, str(tmp_path))
    job = parity._job(parity._parser().parse_args(["run", "--work", str(tmp_path)]))
    assert (job.main, job.auxiliaries) == ("ncbi-disease", ("bc5cdr-disease",))
    assert (job.learning_rate, job.batch_size, job.anneal, job.max_epochs) == (0.1, 32, "linear", 8)
    assert (job.max_sentences.train, job.max_sentences.dev) == (None, None)
    assert job.feature_storage.folder == tmp_path / "features"
