"""The generated corpora: deterministic, well formed, difficult in the intended ways."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from munchray.corpora.sample_grammar import WORDS
from munchray.corpora.samples import RECIPES, generate
from munchray.corpora.tags import spans_of
from munchray.files import digest

SIZES = {
    "sample-disease-1": (280, 120, 150),
    "sample-disease-2": (500, 80, 150),
    "sample-chemical-1": (300, 120, 150),
    "sample-chemical-2": (560, 100, 150),
    "sample-gene-1": (240, 120, 150),
    "sample-gene-2": (600, 100, 150),
    "sample-species-1": (220, 120, 150),
    "sample-species-2": (420, 80, 150),
}
PINNED = {
    "sample-disease-1": "ee2f8297c8eb06cdea767e9d298cd2a5",
    "sample-disease-2": "28896e78127e393d279623af99d2852c",
    "sample-chemical-1": "d869e707b5b322f470df1a2765450259",
    "sample-chemical-2": "44f111ad756d6ca3e4aa0b1d89e4f421",
    "sample-gene-1": "9ab3c41e560af478e58efdebde8f6894",
    "sample-gene-2": "c05ac4c59982821af3f60ce3509cd244",
    "sample-species-1": "ac6019bda894f2a71fc32ac9b7448e03",
    "sample-species-2": "35ffdae6f592ddae21e0a2c4bea9debf",
}
every_corpus = pytest.mark.parametrize("name", sorted(SIZES))


def fingerprint(corpus):
    return digest(*(f"{split} {sentence.tokens} {sentence.tags}" for split in corpus for sentence in corpus[split]))


def names_in(sentences):
    return {" ".join(s.tokens[start:stop]) for s in sentences for start, stop, _ in spans_of(s.tags)}


def all_sentences(name):
    return [sentence for split in generate(name).values() for sentence in split]


@every_corpus
def test_corpora_are_pinned(name):
    assert fingerprint(generate(name)) == PINNED[name]


def test_the_hash_seed_changes_nothing():
    code = "from test_samples import fingerprint, generate; print(fingerprint(generate('sample-gene-1')))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {PINNED["sample-gene-1"]}


def test_sizes():
    assert {name: tuple(map(len, generate(name).values())) for name in RECIPES} == SIZES


@every_corpus
def test_tags_are_iob2_of_the_corpus_type_alone(name):
    entity_type = name.split("-")[1].capitalize()
    for sentence in all_sentences(name):
        assert len(sentence.tokens) == len(sentence.tags)
        for before, tag in zip(("O", *sentence.tags), sentence.tags, strict=False):
            assert tag in {"O", f"B-{entity_type}", f"I-{entity_type}"}
            assert not (tag.startswith("I-") and before == "O")


@every_corpus
def test_sentences_have_6_to_35_plain_tokens(name):
    for sentence in all_sentences(name):
        assert 6 <= len(sentence.tokens) <= 35
        assert all(token and not set(token) & set(" +{}_") for token in sentence.tokens)
        assert not {"ENTITY", *WORDS} & set(sentence.tokens)


@every_corpus
def test_no_sentence_occurs_twice_in_any_split(name):
    sentences = [sentence.tokens for sentence in all_sentences(name)]
    assert len(set(sentences)) == len(sentences)


@every_corpus
def test_most_dev_and_test_names_are_unseen(name):
    corpus = generate(name)
    seen = names_in(corpus["train"])
    for split in ("dev", "test"):
        names = names_in(corpus[split])
        assert len(names - seen) > 0.5 * len(names)


@every_corpus
def test_names_of_other_types_occur_unmarked(name):
    unmarked = {t for s in all_sentences(name) for t, tag in zip(s.tokens, s.tags, strict=True) if tag == "O"}
    for other in SIZES:
        if other.split("-")[1] != name.split("-")[1]:
            assert len(names_in(all_sentences(other)) & unmarked) >= 5, other


@every_corpus
def test_names_are_of_one_token_and_of_several(name):
    lengths = {stop - start for s in generate(name)["train"] for start, stop, _ in spans_of(s.tags)}
    assert {1, 2} <= lengths


@pytest.mark.parametrize(
    ("with_modifier", "without", "modifiers"),
    [
        ("sample-disease-1", "sample-disease-2", WORDS["SEVERITY"]),
        ("sample-chemical-2", "sample-chemical-1", ("sodium", "hydrochloride", "potassium")),
        ("sample-gene-2", "sample-gene-1", ("gene", "mRNA", "promoter", "locus")),
        ("sample-species-1", "sample-species-2", ("strain",)),
    ],
)
def test_annotation_styles_differ(with_modifier, without, modifiers):
    def modified(name):
        return sum(bool(set(entity.split()) & set(modifiers)) for entity in names_in(all_sentences(name)))

    assert modified(with_modifier) > 10
    assert modified(without) == 0


@pytest.mark.parametrize(
    ("name", "word"), [("sample-chemical-1", "lead"), ("sample-disease-1", "cold"), ("sample-gene-1", "receptor")]
)
def test_some_words_are_ambiguous(name, word):
    tags = {
        tag[0]
        for sentence in all_sentences(name)
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True)
        if token == word
    }
    assert "O" in tags
    assert tags & {"B", "I"}
