"""Tokenisation with offsets, and output as columns, JSON and coloured text."""

import io
import json
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munchray.corpora.reader import read_columns as read_corpus
from munchray.errors import InputError
from munchray.models import text
from munchray.models.text import Span

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)


def sentences(*lines):
    return [sentence.words for sentence in text.tokenize_lines(lines)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Mutations cause cystic fibrosis.", ["Mutations", "cause", "cystic", "fibrosis", "."]),
        ("IL-2 (p<0.05)", ["IL", "-", "2", "(", "p", "<", "0", ".", "05", ")"]),
        ("a_b", ["a", "_", "b"]),
        ("β-catenin» 5µg", ["β", "-", "catenin", "»", "5µg"]),
        ("東京 𐐀𐐁", ["東京", "𐐀𐐁"]),
    ],
)
def test_tokenization(line, words):
    assert sentences(line) == [words]


def test_sentences_end_with_the_line():
    assert sentences("It is A. It is B.", "", "no stop", "here") == [
        ["It", "is", "A", "."],
        ["It", "is", "B", "."],
        ["no", "stop"],
        ["here"],
    ]


@given(st.text())
def test_tokens_cover_the_text(line):
    found = list(text.tokenize_lines([line]))
    for sentence in found:
        assert all(sentence.text[token.start : token.stop] == token.text for token in sentence.tokens)
    kept = "".join(chain.from_iterable(word for sentence in found for word in sentence.words))
    assert kept == "".join(line.split())


def test_columns_are_cut_like_those_of_a_corpus(tmp_path):
    content = "-DOCSTART- -X- O\n\nNew York\tNNP\tB-X\n\u2028x\tNN\tO\n\n \na b c\nd\xa0e f\n"
    lines = content.split("\n")
    words = [sentence.words for sentence in text.read_token_column(lines, "f")]
    assert words == [["New York", "\u2028x"], ["a", "d\xa0e"]]


@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_tagged_columns_are_read_back_as_a_corpus(tmp_path_factory, rows):
    given = [text.from_tokens(words) for words in rows if not words[0].startswith("-DOCSTART-")]
    tags = [["B-D", *["I-D"] * (len(sentence.tokens) - 1)] for sentence in given]
    path = tmp_path_factory.mktemp("columns") / "tagged.tsv"
    written = "".join(map(text.as_conll, given, tags))
    path.write_text(written or "a\tO\n", encoding="utf-8", newline="\n")
    again = read_corpus(path)
    if given:
        assert [list(sentence.tokens) for sentence in again] == [sentence.words for sentence in given]
        assert [list(sentence.tags) for sentence in again] == tags


def test_json_offsets_in_any_script():
    (sentence,) = text.tokenize_lines(["Die Krankheit 鎌状赤血球症 (β⁰-Thalassämie 𐐀)"])
    index = {word: position for position, word in enumerate(sentence.words)}
    spans = [(index[word], index[word] + 1, kind) for word, kind in (("鎌状赤血球症", "D"), ("β⁰", "D"), ("𐐀", "G"))]
    line = text.as_json(sentence, text.character_spans(sentence, [(span, 0.98765) for span in spans]))
    found = json.loads(line)
    assert line.count("\n") == 1
    assert [span["text"] for span in found["spans"]] == ["鎌状赤血球症", "β⁰", "𐐀"]
    assert all(found["text"][span["start"] : span["end"]] == span["text"] for span in found["spans"])
    assert [span["type"] for span in found["spans"]] == ["D", "D", "G"]
    assert {span["probability"] for span in found["spans"]} == {0.9877}


def test_markup_keeps_text_and_colours_types():
    types = []
    (first, second) = text.tokenize_lines(["cystic fibrosis and CFTR", "CFTR"])
    spans = [Span(0, 15, "D", "cystic fibrosis", 0.991), Span(20, 24, "G", "CFTR", 0.5)]
    pieces = text.as_markup(first, spans, types)
    assert [words for words, _ in pieces] == ["", "cystic fibrosis [D 0.99]", " and ", "CFTR [G 0.50]", ""]
    disease, gene = pieces[1][1], pieces[3][1]
    assert disease != gene
    assert text.as_markup(second, [Span(0, 4, "G", "CFTR", 1.0)], types)[1] == ("CFTR [G 1.00]", gene)


def test_lines_lose_their_ends_and_the_file_its_mark():
    assert list(text.decode_lines(io.BytesIO("\ufeffa\r\nb\n\n\ufeffc".encode()), "f")) == ["a", "b", "", "\ufeffc"]


def test_a_line_without_a_token_is_refused():
    with pytest.raises(InputError, match="f:2: an empty token"):
        list(text.read_token_column(["a\tO", "\tO"], "f"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_document_offsets_are_right(document):
    found = list(text.tokenize_document(document))
    end = 0
    for sentence in found:
        assert sentence.offset >= end
        end = sentence.offset + len(sentence.text)
        assert document[sentence.offset : end] == sentence.text
    assert [sentence._replace(offset=0) for sentence in found] == list(text.tokenize_lines(document.splitlines()))


@given(st.text(st.sampled_from("Ab. \n\r\v\x85\u2028")))
def test_a_paragraph_is_its_line_with_other_spaces(paragraph):
    line = "".join(" " if character.isspace() else character for character in paragraph)
    found, expected = list(text.tokenize_paragraph(paragraph)), list(text.tokenize_document(line))
    assert [(s.offset, s.tokens) for s in found] == [(s.offset, s.tokens) for s in expected]
    assert all(paragraph[s.offset : s.offset + len(s.text)] == s.text for s in found)


def test_paragraph_sentences_span_lines():
    (sentence,) = text.tokenize_paragraph("cystic\r\nfibrosis\n")
    assert sentence.words == ["cystic", "fibrosis"]
    assert text.character_spans(sentence, [((0, 2, "D"), 1.0)]) == [Span(0, 16, "D", "cystic\r\nfibrosis", 1.0)]


def test_offsets_count_from_the_document_start():
    document = "\n It is A. It is B.\r\n\nIt is B."
    _, second, third = text.tokenize_document(document)
    assert (second.offset, third.offset) == (document.index("It is B"), document.rindex("It is B"))
    start = second.offset + 6
    assert text.character_spans(second, [((2, 3, "X"), 1.0)]) == [Span(start, start + 1, "X", "B", 1.0)]
