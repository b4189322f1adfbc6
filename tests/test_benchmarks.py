"""The benchmarks run from end to end at a tiny size and write what they should; their times are not checked."""

import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import arithmetic, bench, growth, overhead, simulation, threads, workload

TINY = ["--rounds", "1", "--units", "4"]


@pytest.fixture(autouse=True)
def _generated_sentences_and_own_threads(monkeypatch, tmp_path):
    monkeypatch.delenv("MUNCHRAY_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def result_of(benchmark, tmp_path, *arguments):
    """What a benchmark writes."""
    path = tmp_path / "out" / "result.json"
    benchmark.main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    name = benchmark.__name__.split(".")[1]
    assert written["benchmark"] == name
    assert written["command"].startswith(f"python -m benchmarks.{name} --rounds 1")
    assert {"cpu", "cores", "vector_flags", "bfloat16", "torch", "flair", "munchray"} <= set(written["machine"])
    assert written["date"][:2] == "20"
    return written


def speeds(written, unit="tokens/s"):
    """The measured values of all rows, which are positive."""
    values = [row[unit]["values"] for row in written["rows"] if unit in row]
    assert all(len(of_row) == 1 and of_row[0] > 0 for of_row in values)
    return values


# What they share


def test_contenders_take_turns_and_the_first_round_is_not_counted():
    calls = []

    def contender(name):
        return lambda: calls.append(name) or float(len(calls))

    measured = bench.interleaved({"a": contender("a"), "b": contender("b")}, 3)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"
    assert {name: values.values for name, values in measured.items()} == {"a": (3, 6, 7), "b": (4, 5, 8)}


def test_a_ratio_is_taken_round_by_round():
    ratio = bench.Measured((2.0, 9.0, 8.0)).over(bench.Measured((1.0, 3.0, 8.0)))
    assert ratio.as_json() == {"median": 2.0, "min": 1.0, "max": 3.0, "values": [2.0, 3.0, 1.0]}
    assert str(ratio.times(100)) == "200 (100 to 300)"


def test_a_report_is_a_table_and_a_file(tmp_path, capsys):
    report = bench.Results("training", "tokens a second", tmp_path / "results" / "x.json", ["--rounds", "2"])
    measured = {"Flair": bench.Measured((10.0, 20.0)), "munchray": bench.Measured((40.0, 60.0))}
    report.compare({"inputs": 612}, measured, "tokens/s", "Flair")
    report.note("no bfloat16 on this CPU")
    report.publish()
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("tokens a second", "612", "3.5 (3 to 4)", "no bfloat16"))
    written = json.loads((tmp_path / "results" / "x.json").read_text())
    assert written["command"] == "python -m benchmarks.training --rounds 2"
    assert [row["ratio to Flair"]["median"] for row in written["rows"]] == [1.0, 3.5]
    assert written["notes"] == ["no bfloat16 on this CPU"]


# The work


def test_the_store_gives_exactly_the_vectors_that_others_are_given(tmp_path):
    texts = workload.sentences("train", 5)
    vectors = workload.Vectors(12)
    data = workload.trial_data({"train": texts}, vectors, tmp_path, "iobes")
    features = data.train[workload.MAIN].features
    for number, sentence in enumerate(texts):
        positions = np.arange(len(sentence.tokens))
        stored = features.gather(np.full_like(positions, number), positions)
        np.testing.assert_array_equal(stored, vectors.of(sentence.tokens))


def test_invented_sentences_are_as_long_as_asked_for_and_their_words_do_not_depend_on_the_types():
    few, many = workload.invented(2_000, 25, 3), workload.invented(2_000, 25, 10)
    assert workload.tokens_of(few) / 2_000 == pytest.approx(25, rel=0.05)
    assert [sentence.tokens for sentence in few] == [sentence.tokens for sentence in many]
    assert len({tag for sentence in many for tag in sentence.tags}) == 11


@pytest.mark.data
def test_real_sentences_are_taken_where_they_are(monkeypatch, real_data):
    monkeypatch.setenv("MUNCHRAY_DATA", str(real_data))
    texts = workload.sentences("dev")
    assert workload.described(texts, "dev") == "923 sentences, 23,969 tokens: dev of ncbi-disease"


@pytest.mark.parametrize(("inputs", "units", "tags"), [(6, 4, 5), (3, 8, 21)])
def test_the_operations_of_a_step_are_those_that_torch_counts(inputs, units, tags):
    tokens = 7
    weight = {
        "reproject": torch.rand(inputs, inputs, requires_grad=True),
        "head": torch.rand(2 * units, tags, requires_grad=True),
    }
    sides = [[torch.rand(n, 4 * units, requires_grad=True) for n in (inputs, units)] for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        hidden = torch.rand(tokens, 1, inputs) @ weight["reproject"]
        both = [direction(hidden, *side, units) for side in sides]
        (torch.cat(both, 2) @ weight["head"]).sum().backward()
    assert counter.get_total_flops() == tokens * arithmetic.operations_per_token(inputs, units, tags)


def direction(inputs, to_gates, recurrent, units):
    """A plain LSTM, (tokens, 1, inputs) -> (tokens, 1, units)."""
    state = torch.zeros(1, units, requires_grad=True)  # so that its gradient is counted as that of every state
    cell, states = torch.zeros(1, units), []
    for gates in inputs @ to_gates:
        keep, add, new, out = (gates + state @ recurrent).chunk(4, 1)
        cell = keep.sigmoid() * cell + add.sigmoid() * new.tanh()
        state = out.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states)


# Each benchmark


def test_arithmetic(tmp_path, monkeypatch):
    monkeypatch.setattr(arithmetic, "PRODUCT_SECONDS", 0.0)
    arguments = ("--sentences", "8", "--inputs", "6", "10", "--updates", "1")
    written = result_of(arithmetic, tmp_path, *TINY, *arguments)
    work = [row["work"] for row in written["rows"]]
    assert work[:3] == ["matrix product", "step, 6 inputs", "step, 10 inputs"]
    assert len(speeds(written, "GFLOP/s")) == len(work)
    assert len(speeds(written, "percent")) == len(work) * 2 // 3


def test_a_profile_names_operators_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "result.json"
    arguments = ["--sentences", "8", "--inputs", "6", "--updates", "1", "--profile", "--json", str(path)]
    arithmetic.main([*TINY, *arguments])
    assert "aten::" in capsys.readouterr().out
    assert not path.exists()


def test_growth(tmp_path, monkeypatch):
    base = growth.Case(12, 1, 5)
    monkeypatch.setattr(growth, "BASE", base)
    monkeypatch.setattr(growth, "CASES", {"sentences": [base, growth.Case(20, 1, 5)], "tags": [growth.Case(12, 2, 5)]})
    written = result_of(growth, tmp_path, *TINY, "--inputs", "6", "--tokens", "50", "--batch", "4")
    assert len(speeds(written)) == 3
    assert [row["tags"] for row in written["rows"]] == [3, 3, 5]


@pytest.mark.faults
def test_threads(tmp_path):
    written = result_of(threads, tmp_path, *TINY, "--sentences", "8", "--inputs", "6")
    assert len(speeds(written)) == 3


@pytest.mark.faults
def test_training(tmp_path):
    from benchmarks import training

    arguments = ("--sentences", "8", "--inputs", "6", "--batch", "4")
    written = result_of(training, tmp_path, *TINY, *arguments)
    contenders = [row["contender"] for row in written["rows"]]
    assert contenders[:3] == ["Flair", "munchray, random, float32", "munchray, by_length, float32"]
    assert len(speeds(written)) == len(contenders)


@pytest.mark.faults
def test_decoding(tmp_path):
    from benchmarks import decoding

    arguments = ("--sentences", "8", "--dev", "6", "--inputs", "6")
    written = result_of(decoding, tmp_path, *TINY, *arguments)
    assert [row["contender"] for row in written["rows"]] == ["Flair", "munchray"]
    assert len(speeds(written)) == len(speeds(written, "percent of an epoch")) == 2


@pytest.mark.faults
def test_embedding(tmp_path):
    from benchmarks import embedding

    language_models(tmp_path)
    arguments = ("--rounds", "1", "--sentences", "8", "--embeddings", str(tmp_path))
    written = result_of(embedding, tmp_path, *arguments)
    assert [row["contender"] for row in written["rows"]] == ["Flair", "munchray"]
    assert len(speeds(written)) == 2


def language_models(folder):
    """Tiny ones, as Flair saves them."""
    import flair

    letters = flair.data.Dictionary()
    for letter in " abcdefghijklmnopqrstuvwxyz\n":
        letters.add_item(letter)
    for name in ("forward", "backward"):
        flair.models.LanguageModel(letters, name == "forward", 8, 1, 5).save(folder / f"charlm-{name}.pt")


@pytest.mark.faults
def test_tracking(tmp_path):
    from benchmarks import tracking

    written = result_of(tracking, tmp_path, "--rounds", "1", "--trials", "2", "--epochs", "2", "--work", "1")
    assert [row["contender"] for row in written["rows"]] == ["no tracking", "munchray", "MLflow"]
    assert len(speeds(written, "ms")) == 3


def test_embedding_without_its_files_says_what_is_missing(tmp_path, capsys):
    from benchmarks import embedding

    with pytest.raises(SystemExit, match="2"):
        embedding.main(["--embeddings", str(tmp_path)])
    said = f"no charlm-forward.pt and no charlm-backward.pt in {tmp_path}: set MUNCHRAY_EMBEDDINGS or --embeddings"
    assert said in capsys.readouterr().err


def test_a_number_of_rounds_must_be_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        growth.main(["--rounds", "0"])
    assert "argument --rounds: found '0', expected a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.faults
def test_trials_that_do_nothing_run_through_tune_and_through_our_search(tmp_path):
    sides = ["Tune alone, processes reused", "munchray order_gp"]
    written = result_of(overhead, tmp_path, "--rounds", "1", "--trials", "6", "--sides", *sides)
    assert [row["side"] for row in written["rows"]] == sides
    for row in written["rows"]:
        assert 0 < row["s to first trial"]["median"] < row["s"]["median"]
        assert row["driver CPU, ms a trial"]["median"] > 0


@pytest.mark.faults
def test_simulated_trials_all_end_and_what_the_driver_did_is_counted(tmp_path):
    path = tmp_path / "result.json"
    simulation.main(["--trials", "20", "--slots", "4", "--epochs", "1", "--json", str(path)])
    written = json.loads(path.read_text())
    assert [row["trials"] for row in written["rows"]] == list(range(2, 21, 2))
    for row in written["rows"]:
        assert min(row["note, ms"], row["MLflow, ms"], row["requests a trial"], row["files a trial"]) > 0
    assert "0 trials left" in written["notes"][0]


@pytest.mark.faults
def test_workers_are_timed_on_a_cluster_of_their_own(tmp_path):
    from benchmarks import workers

    assert workers.trials_per_hour(tmp_path, workers=2, trials=4, epochs=1) > 0
