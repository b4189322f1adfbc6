"""Reading column files: tolerated variants, normalisation, and the message for each mistake."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munchray.corpora.reader import Sentence, read_columns
from munchray.errors import InputError

DATA = Path(__file__).parent / "data"
TWO_SENTENCES = [
    Sentence(("EU", "rejects", "German", "call", "."), ("B-ORG", "O", "B-MISC", "O", "O")),
    Sentence(("Paris", "London", "Bonn", "United", "Nations"), ("B-LOC", "B-LOC", "I-LOC", "B-ORG", "I-ORG")),
]


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes, name: str = "train.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def problems_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_columns(path, **options)
    return [str(problem).replace(f"{path}", path.name) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["iob1.conll", "iob2.tsv", "iobes.tsv", "bilou.tsv"])
def test_all_schemes_give_the_same_sentences(name):
    assert read_columns(DATA / name) == TWO_SENTENCES


@pytest.mark.parametrize(("scheme", "name"), [("iob1", "iob1.conll"), ("iob2", "iob2.tsv"), ("iobes", "iobes.tsv")])
def test_named_schemes_are_accepted(scheme, name):
    assert read_columns(DATA / name, scheme=scheme) == TWO_SENTENCES


def test_columns_can_be_chosen_from_either_end():
    chunks = read_columns(DATA / "iob1.conll", tag_column=2, scheme="auto")
    assert chunks[0].tags == ("B-NP", "B-VP", "B-NP", "I-NP", "O")
    assert read_columns(DATA / "iob1.conll", tag_column=-2) == chunks
    assert read_columns(DATA / "iob1.conll", token_column=1)[0].tokens == ("NNP", "VBZ", "JJ", "NN", ".")


def test_windows_files_are_read(written):
    lines = ["\ufeff-DOCSTART- -X- O", "", "A   x  B-T", "b  x   I-T", " \t ", "", "-DOCSTART- -X- O", "c x O"]
    expected = [Sentence(("A", "b"), ("B-T", "I-T")), Sentence(("c",), ("O",))]
    assert read_columns(written("\r\n".join(lines))) == expected
    assert read_columns(written("\r\n".join(lines) + "\r\n")) == expected


def test_docstart_ends_a_sentence(written):
    path = written("a\tO\nb\tO\n-DOCSTART-\tO\nc\tB-X\n\nd\tO\n-DOCSTART-\tO\n")
    assert [sentence.tokens for sentence in read_columns(path)] == [("a", "b"), ("c",), ("d",)]


def test_gzip_is_transparent(written):
    content = (DATA / "iob2.tsv").read_bytes()
    assert read_columns(written(gzip.compress(content), "train.tsv.gz")) == TWO_SENTENCES


def test_unicode_spaces_do_not_split(written):
    strange = ["a\u2028b", "c\u0085d", "\u00a0", "e\x0bf", "New York", "\x1c"]
    path = written("".join(f"{token}\tB-X\n" for token in strange) * 2 + "\nlast\tO")
    assert read_columns(path)[0].tokens == tuple(strange * 2)
    assert read_columns(written("a\u2028b  O\nc\u00a0d\u3000e B-X\n"))[0].tokens == ("a\u2028b", "c\u00a0d\u3000e")


TOKENS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t"), min_size=1).filter(
    lambda token: token.strip(" ") == token and not token.startswith(("-DOCSTART-", "\ufeff"))
)


LINES = st.tuples(TOKENS, st.sampled_from(["O", "B-X", "B-y z"]))


@settings(deadline=None)
@given(st.lists(st.lists(LINES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_columns_round_trip(tmp_path_factory, sentences):
    path = tmp_path_factory.mktemp("columns") / "train.tsv"
    text = "\n\n".join("\n".join("\t".join(pair) for pair in sentence) for sentence in sentences)
    path.write_bytes(text.encode())
    assert read_columns(path) == [Sentence(*zip(*sentence, strict=True)) for sentence in sentences]


def test_blank_lines_count_for_line_numbers(written):
    good = "a\tO\nb\tB-X\n"
    assert len(read_columns(written(f"\n\n{good}\n\n\n\n \n{good}\n\n"))) == 2
    assert problems_of(written(f"\n\n{good}\n\n\n\n \n{good}\nc\tX\n\n"))[0].startswith("train.tsv:13: tag 'X'")


def test_odd_lines_are_reported():
    assert problems_of(DATA / "odd_lines.tsv") == [
        (
            "odd_lines.tsv:4: 1 column ('intake'); expected 2 columns as on line 3. "
            "A line is a token and its tag, separated by a tab or by spaces."
        ),
        "odd_lines.tsv:5: an empty token; expected a token. Only an empty line ends a sentence.",
        (
            "odd_lines.tsv:6: 3 columns ('causes O x'); expected 2 columns as on line 3. "
            "A line is a token and its tag, separated by a tab or by spaces."
        ),
        (
            "odd_lines.tsv:7: tag 'Disease' is no IOB tag; expected O, B-TYPE or I-TYPE (or E-TYPE, S-TYPE). "
            "Is another column the tag?"
        ),
        (
            "odd_lines.tsv:9: tag 'B' is no IOB tag; expected O, B-TYPE or I-TYPE (or E-TYPE, S-TYPE). "
            "The entity type is missing: write 'B-Disease', for instance."
        ),
        (
            "odd_lines.tsv:11: tag 'B-' is no IOB tag; expected O, B-TYPE or I-TYPE (or E-TYPE, S-TYPE). "
            "Is another column the tag?"
        ),
    ]


def test_wrong_lines_are_not_joined(written):
    good = "a\tO\nb\tO\n\n"
    problems = problems_of(written(f"{good}{good}x\nO\ty\tO\n"))
    assert [problem.split(" (")[0] for problem in problems] == ["train.tsv:7: 1 column", "train.tsv:8: 3 columns"]


def test_a_file_of_one_column_needs_two(written):
    assert problems_of(written("word\n"))[0].startswith("train.tsv:1: 1 column ('word'); expected at least 2 columns")
    assert "expected at least 4 columns" in problems_of(written("a\tO\n"), tag_column=3)[0]


def test_only_twenty_problems_are_shown(written):
    problems = problems_of(written("a\tO\n" + "b\tX\n" * 1234))
    assert len(problems) == 21
    assert problems[19].startswith("train.tsv:21: ")
    assert problems[20] == "train.tsv: 1,214 more problems in this file"


@pytest.mark.parametrize("content", ["", "\n\n \n", "\ufeff", "-DOCSTART- O\n\n"])
def test_a_file_without_sentences_is_refused(written, content):
    assert problems_of(written(content)) == [
        "train.tsv: no sentences; expected lines of a token and its tag. Is this the right file?"
    ]


def test_very_long_sentence_is_reported(written):
    path = written("a\tO\n\n" + "b\tO\n" * 10_000)
    assert problems_of(path) == [
        (
            "train.tsv:3: a sentence of 10,000 tokens begins here; expected at most 2,000 tokens. "
            "Are the empty lines between its sentences missing?"
        )
    ]
    assert len(read_columns(path, max_tokens=10_000)[1].tokens) == 10_000


def test_invalid_utf8_is_reported_with_its_line(written):
    path = written(b"a\tO\ncaf\xe9\tO\n\nb\tO\n\xff\xfe\tX\n")
    utf8 = "; expected UTF-8. Save the file as UTF-8, for instance with `iconv -f latin1 -t utf-8`."
    problems = problems_of(path)
    assert problems[:2] == [
        f"train.tsv:2: invalid UTF-8 (bytes E9 at character 4){utf8}",
        f"train.tsv:5: invalid UTF-8 (bytes FF FE at character 1){utf8}",
    ]
    assert problems[2].startswith("train.tsv:5: tag 'X'")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"a\tO\n", lambda data: data[:40] + b"??"])
def test_a_damaged_gzip_is_refused(written, damage):
    path = written(damage(gzip.compress(b"a\tO\nb\tB-X\n" * 99)), "train.tsv.gz")
    (problem,) = problems_of(path)
    assert problem.startswith("train.tsv.gz: damaged or no gzip file")
    assert "Copy or download it again" in problem


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "cannot be read (No such file" in problems_of(tmp_path / "none.tsv")[0]
    assert "cannot be read (Is a directory" in problems_of(tmp_path)[0]


def test_strict_iob2_reports_violations(written):
    path = written("a\tO\nb\tI-X\n\nc\tI-X\nd\tI-X\ne\tI-Y\nf\tB-Y\ng\tI-Y\n")
    assert problems_of(path, scheme="iob2") == [
        "train.tsv:2: tag 'I-X' at the start of a sentence or after 'O'; expected 'B-X' (IOB2)",
        "train.tsv:4: tag 'I-X' at the start of a sentence or after 'O'; expected 'B-X' (IOB2)",
        "train.tsv:6: tag 'I-Y' after 'I-X'; expected 'B-Y' (IOB2)",
    ]
    assert read_columns(path)[1].tags == ("B-X", "I-X", "B-Y", "B-Y", "I-Y")  # as IOB1 the file is right


def test_strict_schemes_refuse_the_tags_of_others():
    (problem, *_) = problems_of(DATA / "iobes.tsv", scheme="iob2")
    assert problem.startswith("iobes.tsv:1: tag 'S-ORG' is no IOB tag; expected O, B-TYPE or I-TYPE.")
    assert problems_of(DATA / "iob2.tsv", scheme="iob1")[0] == (
        "iob2.tsv:1: tag 'B-ORG' at the start of a sentence or after 'O'; expected 'I-ORG' (IOB1)"
    )


def test_file_in_no_scheme_names_two_lines(written):
    path = written("a\tB-X\nb\tI-X\n\nc\tO\nd\tI-X\n\ne\tI-X\n")
    assert problems_of(path) == [
        (
            "train.tsv:5: tag 'I-X' at the start of a sentence or after 'O' is against IOB2, and "
            "tag 'B-X' at the start of a sentence or after 'O' on line 1 is against IOB1; expected one scheme in "
            "the whole file. If the file is meant as IOB2, line 5 needs 'B-X' (IOB2)"
        )
    ]


def test_ill_formed_iobes_is_reported(written):
    why = ". The file is read as IOBES because of 'S-X' on line 1"
    path = written("a\tS-X\nb\tB-X\nc\tO\nd\tE-X\n\ne\tI-X\nf\tE-X\n\ng\tB-X\n")
    assert problems_of(path) == [
        (
            f"train.tsv:2: tag 'B-X' followed by the end of the sentence or 'O'; "
            f"expected 'I-X' or 'E-X' after it (IOBES){why}"
        ),
        (
            f"train.tsv:4: tag 'E-X' at the start of a sentence or after 'O'; "
            f"expected 'B-X' or 'I-X' before it (IOBES){why}"
        ),
        (
            f"train.tsv:6: tag 'I-X' at the start of a sentence or after 'O'; "
            f"expected 'B-X' or 'I-X' before it (IOBES){why}"
        ),
        (
            f"train.tsv:9: tag 'B-X' followed by the end of the sentence or 'O'; "
            f"expected 'I-X' or 'E-X' after it (IOBES){why}"
        ),
    ]


def test_unreadable_lines_cause_no_violations(written):
    problems = problems_of(written("a\tO\nb\nc\tI-X\n\nd\tB-X\n"))
    assert [problem.split(": ")[0] for problem in problems] == ["train.tsv:2"]


def test_equal_strings_are_one_object(written):
    first, second = read_columns(written("word\tB-Disease\n\nword\tB-Disease\n"))
    assert first.tokens[0] is second.tokens[0]
    assert first.tags[0] is second.tags[0]
