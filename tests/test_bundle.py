"""An exported model tags as its trial did, holds no pickle, and damage to it is noticed."""

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file

from munchray.corpora.catalogue import load_split
from munchray.corpora.tags import iobes_to_iob2, spans_of
from munchray.errors import InputError
from munchray.models import bundle
from munchray.models.bundle import Model, export_model
from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.weights import load_model
from munchray.training.inputs import open_embedders


@pytest.fixture
def copy(small_model, tmp_path):
    """A copy of the exported folder, to damage."""
    return shutil.copytree(small_model.folder, tmp_path / "copy")


def decoded_in_the_trial(small_model, split):
    """Tags by the trial's own weights from the feature store, one sentence at a time."""
    tagger, _ = load_model(small_model.trial / "model")
    main = small_model.job.main
    data = small_model.data.open(small_model.job.first_trial())
    opened = (data.train if split == "train" else data.dev)[main]
    for place in range(len(opened.lengths)):
        alone = PackedBatch([opened.lengths[place]])
        features = opened.features.tokens(alone.sentences + place, alone.positions)
        (path,) = tagger.decode(torch.from_numpy(features).float(), alone, main)
        yield iobes_to_iob2(path)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_exported_model_tags_every_sentence_as_its_trial_did(small_model, split):
    sentences = small_model.data.load(small_model.job.main, split)
    tags = list(Model.load(small_model.folder).tag(sentence.tokens for sentence in sentences))
    assert tags == list(decoded_in_the_trial(small_model, split))
    assert sum("B-Disease" in row for row in tags) > len(tags) / 4  # it finds something, so equality says something


def test_the_spans_that_are_found_are_those_that_are_tagged_and_each_has_a_probability(small_model):
    sentences = [s.tokens for s in load_split(small_model.data.sources[small_model.job.main], "test", 80)]
    model = Model.load(small_model.folder)
    found = list(model.find(sentences))
    assert [[span for span, _ in own] for own in found] == [spans_of(tags) for tags in model.tag(sentences)]
    scores = [score for own in found for _, score in own]
    assert len(scores) > 20
    assert 0 < min(scores) < 0.9 < max(scores) <= 1


def test_tags_do_not_depend_on_order_or_on_the_size_of_a_batch(small_model, monkeypatch):
    sentences = [s.tokens for s in load_split(small_model.data.sources[small_model.job.main], "test", 80)]
    model = Model.load(small_model.folder)
    expected = dict(zip(sentences, model.tag(sentences), strict=True))
    random.Random(1).shuffle(sentences)
    sentences.insert(7, ())
    expected[()] = []
    monkeypatch.setattr(bundle, "WINDOW", 9)
    monkeypatch.setattr(bundle, "BATCH_TOKENS", 50)
    assert list(model.tag(sentences)) == [expected[sentence] for sentence in sentences]


def test_a_very_long_sentence_is_tagged_beside_short_ones(small_model):
    lengths = [10_000, *[3] * 100]
    tags = Model.load(small_model.folder).tag(["fever"] * length for length in lengths)
    assert [len(row) for row in tags] == lengths


def test_batches_hold_all_sentences_and_bounded_padding():
    lengths = [0, 5, 1, 4000, 9000, 7, 0, *range(1, 200)]
    batches = list(bundle._batches(lengths))
    assert sorted(place for batch in batches for place in batch) == [p for p, n in enumerate(lengths) if n]
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= bundle.BATCH_TOKENS
        assert len(batch) <= bundle.BATCH


def test_the_folder_holds_only_safetensors_and_json(small_model):
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


def test_a_model_without_all_of_its_embeddings_is_refused(copy, small_model):
    shutil.rmtree(copy / "embeddings" / "1")
    with pytest.raises(InputError, match="embeddings give 24 numbers a token; expected 40"):
        Model.load(copy)
    with pytest.raises(InputError, match="embeddings give 0 numbers a token; expected 40"):
        Model.load(small_model.trial / "model")


def test_a_stray_file_beside_the_embeddings_does_no_harm(copy):
    (copy / "embeddings" / ".DS_Store").write_text("")
    assert Model.load(copy).main == "sample-disease-1"


def test_an_older_export_is_replaced_and_nothing_else_is(small_model, copy, tmp_path):
    embedders = open_embedders(small_model.job, lambda line: None)
    (copy / "old").write_text("")
    export_model(small_model.trial / "model", embedders, {"f1": 1}, copy)
    assert not (copy / "old").exists()
    assert json.loads((copy / "scores.json").read_text()) == {"f1": 1}
    (tmp_path / "empty").mkdir()
    export_model(small_model.trial / "model", embedders, {}, tmp_path / "empty")

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    (tmp_path / "file").write_text("")
    for target in ("thesis", "file"):
        with pytest.raises(InputError, match="not a model folder"):
            export_model(small_model.trial / "model", embedders, {}, tmp_path / target)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "empty", "file", "thesis"]


def test_an_export_that_fails_leaves_the_older_one_whole(small_model, copy):
    class Broken:
        width, fingerprint = 3, "broken"

        def save(self, folder):
            raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="No space"):
        export_model(small_model.trial / "model", [Broken()], {}, copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
