"""A job's embeddings: parsing without heavy imports, features equal to Flair's, messages for mistakes."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert

from munchray.errors import InputError, WorkError
from munchray.features import flair_names
from munchray.features.sources import (
    EmbeddingSpec,
    check_installed,
    embedding_sources,
    fingerprint,
    load_embedder,
    open_embedder,
    parse_embedding,
)
from munchray.features.store import build, open_features
from munchray.storage.path import StoragePath

TEXT = [["BRCA1", "is", "a", "gene", "."], ["a", "gene", "of", "the", "tumour", "cell", "."]] * 40
ODD = [
    ["a"],
    ["é", "ﬁbrosis", "\u200b", "😀", "中文", "β-catenin", "\u00a0"],
    ["un", "k" * 700, "x"],
    ["token"] * 400,
    ["IL-2", "İstanbul", "ß", "A\u0308", "123", "p53", "P53"],
]


def message_for(entry: object) -> str:
    with pytest.raises(InputError) as caught:
        parse_embedding(entry, "job.yaml:3: embeddings[0]")
    text = str(caught.value)
    assert "job.yaml:3: embeddings[0]" in text
    return text


def vectors_file(folder: Path, name: str = "vectors.gensim") -> Path:
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(4)
    keyed.add_vectors(["a", "gene"], np.eye(2, 4, dtype=np.float32))
    keyed.save(str(folder / name))
    return folder / name


def test_names_that_flair_knows_need_no_file():
    assert parse_embedding("pubmed-forward", "w") == EmbeddingSpec("characters", "pubmed-forward")
    assert parse_embedding("German-Backward", "w") == EmbeddingSpec("characters", "german-backward")
    assert parse_embedding("fasttext:pubmed", "w") == EmbeddingSpec("fasttext", "pubmed")
    assert parse_embedding("words:glove", "w") == EmbeddingSpec("words", "glove")


def test_kind_is_inferred_from_the_path(tmp_path, monkeypatch):
    vectors = vectors_file(tmp_path)
    torch.save({}, tmp_path / "model.pt")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path))
    for entry in ("model.pt", "./model.pt", "$HERE/model.pt", "${HERE}/model.pt", str(tmp_path / "model.pt")):
        assert parse_embedding(entry, "w") == EmbeddingSpec("characters", str(tmp_path / "model.pt"))
    assert parse_embedding("bert", "w") == EmbeddingSpec("transformer", str(tmp_path / "bert"))
    assert parse_embedding("./vectors.gensim", "w") == EmbeddingSpec("words", str(vectors))
    assert parse_embedding("fasttext:$HERE/vectors.gensim", "w") == EmbeddingSpec("fasttext", str(vectors))


def test_train_fills_in_its_defaults():
    characters = parse_embedding({"train": {"characters": "forward", "epochs": 2}}, "w")
    assert characters == EmbeddingSpec("train_characters", "forward", (("epochs", 2), ("hidden_size", 64)))
    subwords = parse_embedding({"train": {"subwords": 50}}, "w")
    assert subwords == EmbeddingSpec("train_subwords", "", (("epochs", 5), ("subwords", 50)))


def test_an_entry_survives_json(tmp_path):
    entries = ["news-forward", "words:glove", f"fasttext:{vectors_file(tmp_path)}", {"train": {"subwords": 50}}]
    for spec in [parse_embedding(entry, "w") for entry in [*entries, {"train": {"characters": "backward"}}]]:
        assert parse_embedding(json.loads(json.dumps(spec.entry())), "w") == spec


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("pubmed-foward", "unknown embedding 'pubmed-foward'; expected a name that Flair knows .*'pubmed-forward'?"),
        ("words:pubmet", "unknown embedding 'pubmet'.*Did you mean 'pubmed'?"),
        ("zzzz", "unknown embedding 'zzzz'; expected a name that Flair knows"),
        ("/nowhere/lm.pt", "/nowhere/lm.pt does not exist"),
        ("words:/nowhere/x.gensim", "/nowhere/x.gensim does not exist"),
        ("$NOT_SET_ANYWHERE/lm.pt", r"names \$NOT_SET_ANYWHERE, which is not set"),
        ("", "found ''; expected a name that Flair knows"),
        (3, "found 3; expected"),
        (None, "found None; expected"),
        ({"trian": {"characters": "forward"}}, "unknown key 'trian'.*Did you mean 'train'?"),
        ({}, "empty mapping"),
        ({"train": 3}, "found {'train': 3}"),
        ({"train": {"hidden_size": 3}}, "expected characters: forward, characters: backward or subwords: WIDTH"),
        ({"train": {"characters": "sideways"}}, "characters: found 'sideways'; expected forward or backward"),
        ({"train": {"subwords": "many"}}, "subwords: found 'many'; expected a whole number from 1 to 1000"),
        ({"train": {"subwords": True}}, "found True"),
        ({"train": {"subwords": 50, "epoch": 3}}, "unknown key 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_a_wrong_entry_is_explained(entry, expected):
    assert re.search(expected.replace("?", r"\?"), message_for(entry)), message_for(entry)


def test_all_mistakes_are_reported_at_once():
    text = message_for({"train": {"characters": "up", "hidden_size": 0, "epochs": 1.5, "layers": 2}})
    assert len(text.splitlines()) == 4
    for found in ("'up'", "found 0", "found 1.5", "unknown key 'layers'"):
        assert found in text


def test_other_files_are_refused_by_their_first_bytes(tmp_path):
    (tmp_path / "random.pt").write_bytes(b"\x00" + os.urandom(99))
    (tmp_path / "random.gensim").write_bytes(b"\x00" + os.urandom(99))
    (tmp_path / "folder").mkdir()
    assert "random.pt is no torch file; expected a file saved by Flair's LanguageModel" in message_for(
        f"{tmp_path}/random.pt"
    )
    assert "random.gensim is no file of word vectors" in message_for(f"{tmp_path}/random.gensim")
    assert "folder has no config.json; expected a transformer folder" in message_for(str(tmp_path / "folder"))
    assert "folder is a folder; expected a file of vectors" in message_for(f"words:{tmp_path}/folder")


class Bomb:
    """A pickle that would make a file when read."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_other_torch_files_are_refused_and_run_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"other.pt": {"weights": torch.ones(2)}, "tensor.pt": torch.ones(2), "bomb.pt": {"dictionary": Bomb()}}
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:200])
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb()))
    for name in (*files, "cut.pt", "pickle.pt"):
        spec = parse_embedding(str(tmp_path / name), "w")
        with pytest.raises(InputError, match=f"{name}: no language model, .*; expected a file saved by Flair's"):
            open_embedder(spec, list, StoragePath.at(tmp_path / "cache"), print)
    assert not (tmp_path / "exploded").exists()


def test_fingerprint_depends_on_bytes_not_path(tmp_path):
    content, fingerprints = vectors_file(tmp_path).read_bytes(), []
    for name, data in {"one": content, "two": content, "three": content + b"\x00"}.items():
        path = tmp_path / name / "vectors.gensim"
        path.parent.mkdir()
        path.write_bytes(data)
        fingerprints.append(fingerprint(parse_embedding(str(path), "w"), list))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    as_subwords = parse_embedding(f"fasttext:{tmp_path}/one/vectors.gensim", "w")
    assert fingerprint(as_subwords, list) not in fingerprints
    np.save(tmp_path / "one" / "vectors.gensim.vectors.npy", np.ones(2))
    assert fingerprint(parse_embedding(f"{tmp_path}/one/vectors.gensim", "w"), list) != fingerprints[0]


def test_training_fingerprint():
    specs = [
        parse_embedding({"train": {"characters": direction, "epochs": epochs}}, "w")
        for direction, epochs in [("forward", 1), ("backward", 1), ("forward", 2)]
    ]
    texts = [lambda: TEXT, lambda: TEXT[1:]]
    fingerprints = {fingerprint(spec, text) for spec in specs for text in texts}
    assert len(fingerprints) == 6
    assert fingerprint(specs[0], lambda: TEXT) in fingerprints


@pytest.mark.parametrize("entry", [{"train": {"characters": "forward", "epochs": 1}}, {"train": {"subwords": 8}}])
def test_trained_embedders_are_cached(tmp_path, entry):
    spec, messages = parse_embedding(entry, "w"), []
    first = open_embedder(spec, lambda: TEXT, StoragePath.at(tmp_path), messages.append)
    assert messages[0].startswith("training ")
    again = open_embedder(spec, lambda: TEXT, StoragePath.at(tmp_path), messages.append)
    assert len([line for line in messages if line.startswith("training")]) == len(messages)
    assert first.fingerprint == again.fingerprint == fingerprint(spec, lambda: TEXT)
    for ours, theirs in zip(first.embed(TEXT[:2]), again.embed(TEXT[:2]), strict=True):
        assert np.array_equal(ours, theirs)
    (weights,) = tmp_path.glob("*/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-5])
    messages.clear()
    open_embedder(spec, lambda: TEXT, StoragePath.at(tmp_path), messages.append)
    assert messages[0].endswith("is damaged, rebuilding it")
    load_embedder(weights.parent)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no saved embedder.*expected a folder with embedder.json"):
        load_embedder(tmp_path)


def test_parsing_imports_no_heavy_libraries(tmp_path):
    torch.save({}, tmp_path / "model.pt")
    program = (
        "import sys; from munchray.features.sources import parse_embedding, embedding_sources\n"
        "entries = ['pubmed-forward', 'fasttext:pubmed', sys.argv[1], {'train': {'subwords': 50}}]\n"
        "specs = [parse_embedding(entry, 'w') for entry in entries]\n"
        "assert len(embedding_sources(specs, list, None, print)) == 4\n"
        "print([m for m in ('torch', 'flair', 'gensim', 'transformers') if m in sys.modules])"
    )
    code = [sys.executable, "-c", program, str(tmp_path / "model.pt")]
    answer = subprocess.run(code, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_missing_gensim_is_reported_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim", None)
    (tmp_path / "vectors.bin").touch()
    entries = ["words:glove", "fasttext:pubmed", str(tmp_path / "vectors.bin"), {"train": {"subwords": 50}}]
    for entry in entries:
        spec = parse_embedding(entry, "w")
        with pytest.raises(InputError) as caught:
            check_installed(spec, "mine: embeddings")
        said = (
            f'mine: embeddings: {spec} needs gensim, which is not installed. Install it: pip install "munchray[gensim]"'
        )
        assert str(caught.value) == said
    check_installed(parse_embedding("pubmed-forward", "w"), "mine: embeddings")


@pytest.fixture(scope="session")
def flair():
    """The judge, imported once."""
    import flair
    import flair.embeddings
    import flair.models

    flair.device = torch.device("cpu")
    return flair


def by_flair(flair, embeddings, sentences) -> list[np.ndarray]:
    judged = [flair.data.Sentence(list(tokens)) for tokens in sentences]
    embeddings.embed(judged)
    features = [np.stack([token.get_embedding().numpy() for token in sentence]) for sentence in judged]
    assert [len(f) for f in features] == [len(tokens) for tokens in sentences]
    return features


def assert_same_features(flair, spec: EmbeddingSpec, embeddings, sentences, folder: Path) -> None:
    """Ours equal Flair's, directly, after saving and loading, and from the store within float16."""
    expected = by_flair(flair, embeddings, sentences)
    (source,) = embedding_sources([spec], list, StoragePath.at(folder / "cache"), print)
    embedder = source.open()
    embedder.save(folder / "saved")
    for ours in (embedder, load_embedder(folder / "saved")):
        assert ours.fingerprint == source.fingerprint
        for features, judge in zip(ours.embed(sentences), expected, strict=True):
            np.testing.assert_allclose(features, judge, atol=1e-5, rtol=0)
    build(sentences, [source], StoragePath.at(folder / "store"), print)
    stored = open_features(sentences, [source.fingerprint], StoragePath.at(folder / "store"))
    for sentence, judge in enumerate(expected):
        features = stored.gather(np.full(len(judge), sentence), np.arange(len(judge)))
        np.testing.assert_allclose(features, judge, atol=1e-5, rtol=2**-10)


@pytest.mark.slow
def test_our_list_of_names_is_flairs(flair, monkeypatch):
    monkeypatch.setattr("flair.embeddings.token.cached_path", lambda *_, **__: pytest.fail("looked up"))
    with pytest.raises(ValueError, match="not available"):
        (embeddings := flair.embeddings.FlairEmbeddings.__new__(flair.embeddings.FlairEmbeddings)).__init__("?")
    assert flair_names.language_models() == set(embeddings.PRETRAINED_MODEL_ARCHIVE_MAP)
    assert "pubmed-forward" in flair_names.language_models()


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("forward", "layers", "nout"), [(True, 1, None), (False, 2, 6)])
def test_language_model_files_equal_flairs(flair, tmp_path, forward, layers, nout, zipped):
    dictionary = flair.data.Dictionary()
    for character in "abcdefgt \né123":
        dictionary.add_item(character)
    model = flair.models.LanguageModel(dictionary, forward, 8, layers, 5, nout, "<doc>" if nout else "\n")
    for weight in model.parameters():
        torch.nn.init.uniform_(weight.data, -0.5, 0.5)
    model.save(tmp_path / "lm.pt")
    if not zipped:  # as torch wrote them when Flair's PubMed models were made
        state = torch.load(tmp_path / "lm.pt", weights_only=False)
        torch.save(state, tmp_path / "lm.pt", _use_new_zipfile_serialization=False)
    spec = parse_embedding(str(tmp_path / "lm.pt"), "w")
    assert_same_features(flair, spec, flair.embeddings.FlairEmbeddings(tmp_path / "lm.pt"), ODD, tmp_path)


@pytest.mark.slow
def test_perplexity_equals_flairs(flair):
    from munchray.features.training import bits_per_character, frame_text, train_character_model

    ours, alphabet = train_character_model(TEXT, forward=True, hidden_size=8, epochs=1, seed=1, progress=print)
    dictionary = flair.data.Dictionary()
    for character in list(alphabet.char_to_id)[1:]:
        dictionary.add_item(character)
    theirs = flair.models.LanguageModel(dictionary, True, 8, 1, ours.encoder.embedding_dim)
    theirs.load_state_dict(ours.state_dict())
    perplexity = theirs.eval().calculate_perplexity(frame_text(TEXT, True))
    assert 2 ** bits_per_character(ours, alphabet, TEXT, True) == pytest.approx(perplexity, rel=1e-4)


@pytest.mark.slow
def test_transformer_equals_last_layer_first_subtoken(flair, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_bert(tmp_path / "bert")
    sentences = [["abc", "", "de"], ["f"], [], ["", ""], ["ZZ", "a😀b", "bad", "\u200b", "p"]]
    (source,) = embedding_sources([parse_embedding(str(folder), "w")], list, StoragePath.at(tmp_path / "cache"), print)
    embedder = source.open()
    features = list(embedder.embed(sentences))
    assert [f.shape for f in features] == [(len(tokens), 12) for tokens in sentences]
    assert not features[0][1].any()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    pieces = tokenizer([["abc", "de"]], is_split_into_words=True, return_tensors="pt")
    first = [pieces.word_ids().index(word) for word in (0, 1)]
    states = model(**pieces).last_hidden_state[0, first].detach().numpy()
    np.testing.assert_allclose(features[0][[0, 2]], states, atol=1e-5)
    embedder.save(tmp_path / "saved")
    for ours, again in zip(features, load_embedder(tmp_path / "saved").embed(sentences), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert not list((tmp_path / "saved").glob("*.bin"))
    assert load_embedder(tmp_path / "saved").fingerprint == source.fingerprint


@pytest.mark.slow
def test_folder_without_a_model_is_refused(flair, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no transformer.*expected a folder that transformers' save_pretrained"):
        open_embedder(parse_embedding(str(tmp_path), "w"), list, StoragePath.at(tmp_path), print)


@pytest.mark.slow
def test_failed_download_is_explained(flair, tmp_path, monkeypatch):
    monkeypatch.setattr(flair, "cache_root", tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing listens on the discard port
    for entry in ("pubmed-forward", "fasttext:pubmed"):
        spec = parse_embedding(entry, "w")
        with pytest.raises(WorkError, match=r"Flair could not provide the embeddings 'pubmed.*name a local file"):
            open_embedder(spec, list, StoragePath.at(tmp_path / "cache"), print)


@pytest.fixture(scope="session")
def real_sentences(real_data, real_embeddings) -> list[list[str]]:
    """The first 200 of ncbi-disease."""
    with gzip.open(real_data / "ncbi-disease" / "train.tsv.gz", "rt", encoding="utf-8") as stream:
        blocks = stream.read().split("\n\n")
    return [[line.split("\t")[0] for line in block.splitlines()] for block in blocks[:200]]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["charlm-forward.pt", "charlm-backward.pt"])
def test_real_language_models_equal_flairs(flair, real_embeddings, real_sentences, name, tmp_path):
    path = real_embeddings / name
    embeddings = flair.embeddings.FlairEmbeddings(path)
    assert_same_features(flair, parse_embedding(str(path), "w"), embeddings, real_sentences + ODD, tmp_path)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("semantics", ["words", "fasttext"])
def test_real_vectors_equal_flairs(flair, real_embeddings, real_sentences, semantics, tmp_path):
    path = str(real_embeddings / "fasttext-100.gensim")
    judge = {"words": flair.embeddings.WordEmbeddings, "fasttext": flair.embeddings.FastTextEmbeddings}[semantics]
    spec = parse_embedding(f"{semantics}:{path}", "w")
    assert_same_features(flair, spec, judge(path), real_sentences + ODD, tmp_path)
