"""Exported models: tags, spans and scores against independent judges; what the folder holds; damage to it."""

import json
import random
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from munchray.corpora.catalogue import load_split
from munchray.corpora.tags import iobes_to_iob2, spans_of
from munchray.errors import InputError
from munchray.features.batching import batches_by_length
from munchray.models import model as model_module
from munchray.models.export import TrainedModel, export_folder
from munchray.models.model import Model
from munchray.models.text import from_tokens, tokenize_lines
from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.weights import load_tagger
from munchray.training.inputs import open_embedders


@pytest.fixture
def copy(small_model, tmp_path):
    """A copy of the exported folder, to damage."""
    return shutil.copytree(small_model.folder, tmp_path / "copy")


def decoded_in_the_trial(small_model, split):
    """Tags by the trial's own weights from the feature store, one sentence at a time."""
    tagger, _ = load_tagger(small_model.trial / "model")
    main = small_model.job.main
    data = small_model.data.open(small_model.job.first_trial())
    opened = (data.train if split == "train" else data.dev)[main]
    for index in range(len(opened.lengths)):
        alone = PackedBatch([opened.lengths[index]])
        features = opened.features.gather(alone.sentences + index, alone.positions)
        (path,) = tagger.decode(torch.from_numpy(features).float(), alone, main)
        yield iobes_to_iob2(path)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_exported_model_tags_as_its_trial(small_model, split):
    sentences = small_model.data.load(small_model.job.main, split)
    tags = Model.load(small_model.folder).tag([sentence.tokens for sentence in sentences])
    assert tags == list(decoded_in_the_trial(small_model, split))
    assert sum("B-Disease" in row for row in tags) > len(tags) / 4  # it finds something, so equality says something


def test_spans_are_those_of_the_tags(small_model):
    sentences = [s.tokens for s in load_split(small_model.data.sources[small_model.job.main], "test", 80)]
    model = Model.load(small_model.folder)
    found = list(model.iter_spans(map(from_tokens, sentences)))
    expected = [
        [words[a:b] for a, b, _ in spans_of(tags)] for words, tags in zip(sentences, model.tag(sentences), strict=True)
    ]
    assert [[tuple(span.text.split(" ")) for span in spans] for spans in found] == expected
    probabilities = [span.probability for spans in found for span in spans]
    assert len(probabilities) > 20
    assert 0 < min(probabilities) < 0.9 < max(probabilities) <= 1


@pytest.fixture(scope="module")
def lines(small_model):
    """Sentences of the test split as raw text."""
    split = load_split(small_model.data.sources[small_model.job.main], "test", 25)
    return [" ".join(sentence.tokens) for sentence in split]


def expected_spans(model, line):
    """Offsets and types by the tags of the tokens and the offsets of a regular expression."""
    tokens = list(re.finditer(r"[^\W_]+|\S", line))
    (tags,) = model.tag([[token[0] for token in tokens]])
    return [(tokens[a].start(), tokens[b - 1].end(), kind) for a, b, kind in spans_of(tags)]


def test_spans_of_a_document_point_into_it(small_model, lines):
    model, document, expected = Model.load(small_model.folder), "", []
    for line in lines:
        document += "\n𐐀\n  "
        (sentence,) = tokenize_lines([line])  # or the judge would have to split sentences
        expected += [
            (a + len(document), b + len(document), kind) for a, b, kind in expected_spans(model, sentence.text)
        ]
        document += line
    spans = model.spans_of_document(document)
    assert [(span.start, span.end, span.type) for span in spans] == expected
    assert all(document[span.start : span.end] == span.text for span in spans)
    assert len(spans) > 5


def test_line_breaks_in_a_paragraph_are_spaces(small_model, lines):
    model = Model.load(small_model.folder)
    paragraph = " ".join(lines)
    plain, wrapped = model.spans(paragraph), model.spans(paragraph.replace(" ", "\n"))
    assert wrapped == [replace(span, text=span.text.replace(" ", "\n")) for span in plain]
    assert any("\n" in span.text for span in wrapped)
    assert model.spans("") == model.spans_of_document("\n \n") == []


@pytest.mark.parametrize("split", ["dev", "test"])
def test_scores_equal_seqeval(small_model, tmp_path, split):
    model = Model.load(small_model.folder)
    sentences = load_split(small_model.data.sources[small_model.job.main], split)
    gold, found = [list(s.tags) for s in sentences], model.tag([s.tokens for s in sentences])
    judge = {"mode": "strict", "scheme": IOB2, "average": "micro"}
    expected = {
        "precision": 100 * precision_score(gold, found, **judge),
        "recall": 100 * recall_score(gold, found, **judge),
        "f1": 100 * f1_score(gold, found, **judge),
        "support": sum(tag == "B-Disease" for row in gold for tag in row),
    }
    assert expected["f1"] > 20
    rows = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*s, strict=True)) for s in sentences)
    (tmp_path / f"{split}.tsv").write_text("\n".join(rows))
    for corpus in ("sample-disease-1", tmp_path):
        assert model.score(corpus, split) == {"Disease": pytest.approx(expected), "all": pytest.approx(expected)}


def test_a_corpus_with_unknown_types_is_not_scored(small_model):
    with pytest.raises(
        InputError, match=r"sample-gene-1: entity types Gene; expected only types of the model \(Disease"
    ):
        Model.load(small_model.folder).score("sample-gene-1")


def test_tags_do_not_depend_on_batching(small_model, monkeypatch):
    sentences = [s.tokens for s in load_split(small_model.data.sources[small_model.job.main], "test", 80)]
    model = Model.load(small_model.folder)
    expected = dict(zip(sentences, model.tag(sentences), strict=True))
    random.Random(1).shuffle(sentences)
    sentences.insert(7, ())
    expected[()] = []
    monkeypatch.setattr(model_module, "WINDOW", 9)
    monkeypatch.setattr(model_module, "MAX_PADDED_TOKENS", 50)
    assert model.tag(sentences) == [expected[sentence] for sentence in sentences]


def test_very_long_sentence(small_model):
    lengths = [10_000, *[3] * 100]
    tags = Model.load(small_model.folder).tag([["fever"] * length for length in lengths])
    assert [len(row) for row in tags] == lengths


def test_batches_by_length_bound_padding():
    lengths = [5, 1, 4000, 9000, 7, *range(1, 200)]
    batches = list(batches_by_length(lengths, 4096, 32))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= 4096
        assert len(batch) <= 32


def test_folder_has_no_pickle(small_model):
    files = [path for path in small_model.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert load_file(path)  # a format that holds nothing but numbers


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("weights.safetensors", lambda data: data[:-100], "weights.safetensors: damaged weights"),
        ("weights.safetensors", lambda data: b"", "weights.safetensors: damaged weights"),
        ("weights.safetensors", lambda data: None, "weights.safetensors: damaged weights"),
        ("model.json", lambda data: data[:100], "not a model folder"),
        ("model.json", lambda data: b"[]", "not the description of a munchray model"),
        ("model.json", lambda data: data.replace(b'"hidden_size": 24', b'"hidden_size": "x"'), "model.json: damaged"),
        ("model.json", lambda data: data.replace(b'"settings"', b'"other"'), "model.json: damaged"),
        ("model.json", lambda data: data.replace(b'"version": 1', b'"version": 99'), "format version 99"),
        ("model.json", lambda data: data.replace(b'"hidden_size": 24', b'"hidden_size": 25'), "damaged weights"),
        ("embeddings/0/embedder.json", lambda data: b"{", "no saved embedder"),
        ("embeddings/1/embedder.json", lambda data: None, "no saved embedder"),
    ],
)
def test_a_damaged_file_is_named(copy, file, damage, message):
    data = damage((copy / file).read_bytes())
    if data is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(data)
    with pytest.raises(InputError, match=message):
        Model.load(copy)


def test_missing_embeddings_are_refused(copy, small_model):
    shutil.rmtree(copy / "embeddings" / "1")
    with pytest.raises(InputError, match="embeddings give 24 features per token; expected 40"):
        Model.load(copy)
    with pytest.raises(InputError, match="embeddings give 0 features per token; expected 40"):
        Model.load(small_model.trial / "model")


def test_stray_files_are_ignored(copy):
    (copy / "embeddings" / ".DS_Store").write_text("")
    assert Model.load(copy).main == "sample-disease-1"


def test_only_exports_are_replaced(small_model, copy, tmp_path):
    embedders = open_embedders(small_model.job, lambda line: None)
    trained = TrainedModel("trial", small_model.trial / "model", embedders, {"f1": 1})
    (copy / "old").write_text("")
    export_folder(trained, copy)
    assert not (copy / "old").exists()
    assert json.loads((copy / "scores.json").read_text()) == {"f1": 1}
    (tmp_path / "empty").mkdir()
    export_folder(trained, tmp_path / "empty")

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    (tmp_path / "file").write_text("")
    for target in ("thesis", "file"):
        with pytest.raises(InputError, match="not a model folder"):
            export_folder(trained, tmp_path / target)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "empty", "file", "thesis"]


def test_failed_export_keeps_the_old_one(small_model, copy):
    class Broken:
        width, fingerprint = 3, "broken"

        def save(self, folder):
            raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="No space"):
        export_folder(TrainedModel("trial", small_model.trial / "model", [Broken()], {}), copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
