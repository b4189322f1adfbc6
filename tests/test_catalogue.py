"""Corpora by name: search path, split files, counts against Table 1."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from munchray.corpora.catalogue import (
    SPLITS,
    TABLE_1,
    CorpusSource,
    SplitCounts,
    check_split,
    count,
    entity_types,
    find_corpus,
    known_corpora,
    load_split,
)
from munchray.corpora.reader import Sentence
from munchray.errors import InputError

LINES = "A\tB-X\nb\tO\n\nC\tB-Y\nd\tI-Y\n\ne\tB-X\n"


@pytest.fixture
def own(tmp_path):
    """A user's own corpus with a train file only."""
    (tmp_path / "train.tsv").write_text(LINES)
    return CorpusSource("mine", "disease", tmp_path)


def check_all(data_dir):
    return [check_split(name, split, data_dir) for name in TABLE_1 for split in SPLITS]


def problem_of(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    (problem,) = caught.value.problems
    return str(problem)


def test_known_corpora():
    known = known_corpora()
    real = [name for name in known if not name.startswith("sample-")]
    assert set(real) == set(TABLE_1)
    for names in (real, set(known) - set(real)):
        assert sorted(known[name] for name in names) == sorted(["chemical", "disease", "gene", "species"] * 2)


def test_an_unknown_corpus_gets_the_nearest_name(tmp_path):
    message = problem_of(find_corpus, "ncbi-diseases", tmp_path)
    assert message.startswith("corpus 'ncbi-diseases': no corpus of that name")
    assert "Did you mean 'ncbi-disease'?" in message


def test_missing_known_corpus_gives_advice(tmp_path, monkeypatch):
    monkeypatch.delenv("MUNCHRAY_DATA", raising=False)
    message = problem_of(find_corpus, "s800", tmp_path)
    for part in (f"no folder {tmp_path / 's800'}", "MUNCHRAY_DATA", "`data_dir:`", "`munchray corpora fetch`"):
        assert part in message
    assert f"no folder {Path('data') / 's800'}" in problem_of(find_corpus, "s800", None)


def test_data_dir_precedes_the_environment(tmp_path, monkeypatch):
    for folder in ("environment", "given"):
        (tmp_path / folder / "s800").mkdir(parents=True)
    monkeypatch.setenv("MUNCHRAY_DATA", str(tmp_path / "environment"))
    assert find_corpus("s800", None).folder == tmp_path / "environment" / "s800"
    assert find_corpus("s800", tmp_path / "given").folder == tmp_path / "given" / "s800"


def test_an_own_corpus_is_read_and_limited(own):
    assert [len(load_split(own, "train", limit)) for limit in (None, 2, 9)] == [3, 2, 3]
    assert entity_types(load_split(own, "train")) == ("X", "Y")
    assert entity_types(load_split(own, "train", 1)) == ("X",)
    assert count(load_split(own, "train")) == SplitCounts(sentences=3, words=5, annotations=3)


def test_columns_and_scheme_of_the_source_are_used(own):
    (own.folder / "test.txt").write_text("I-X a\nI-X b\n")
    source = replace(own, token_column=1, tag_column=0)
    assert load_split(source, "test") == (Sentence(("a", "b"), ("B-X", "I-X")),)
    assert "expected 'B-X' (IOB2)" in problem_of(load_split, replace(source, scheme="iob2"), "test")


@pytest.mark.parametrize("name", ["dev.tsv", "devel.txt", "valid.conll", "validation.iob", "dev.bio.gz"])
def test_the_usual_names_of_dev_are_accepted(own, name):
    content = LINES.encode()
    (own.folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert len(load_split(own, "dev")) == 3


def test_missing_split_lists_expected_and_existing_files(own):
    message = problem_of(load_split, own, "dev")
    assert f"no file for the split 'dev' in {own.folder}, which holds train.tsv" in message
    assert "dev.tsv or devel.tsv or valid.tsv or validation.tsv (or .txt, .conll, .iob, .bio; .gz too)" in message


def test_two_files_for_a_split_are_refused(own):
    (own.folder / "train.tsv.gz").write_bytes(gzip.compress(LINES.encode()))
    assert "2 files for the split 'train'" in problem_of(load_split, own, "train")


def test_missing_folder_and_empty_file_are_refused(own):
    assert "no folder" in problem_of(load_split, replace(own, folder=own.folder / "none"), "train")
    (own.folder / "dev.tsv").touch()
    assert "dev.tsv: no sentences" in problem_of(load_split, own, "dev")


def test_sample_corpora_need_no_files():
    for name, kind in known_corpora().items():
        if name.startswith("sample-"):
            source = find_corpus(name, None)
            assert source == CorpusSource(name, kind, None)
            assert len(load_split(source, "dev", 5)) == 5


def test_missing_and_damaged_splits_give_rows(tmp_path):
    (tmp_path / "s800").mkdir()
    (tmp_path / "s800" / "train.tsv.gz").write_bytes(b"no gzip")
    rows = {(row.corpus, row.split): row for row in check_all(tmp_path)}
    assert set(rows) == {(name, split) for name in TABLE_1 for split in SPLITS}
    assert not any(row.equal for row in rows.values())
    assert "no folder" in rows["jnlpba", "dev"].verdict
    assert "damaged or no gzip file" in rows["s800", "train"].verdict
    assert "no file for the split 'dev'" in rows["s800", "dev"].verdict


def test_a_difference_is_put_in_words(tmp_path):
    (tmp_path / "s800").mkdir()
    (tmp_path / "s800" / "dev.tsv").write_text(LINES)
    row = check_split("s800", "dev", tmp_path)
    assert row.measured == SplitCounts(3, 5, 3)
    assert row.verdict == "differs by -827 sentences, -22,212 words, -381 annotations"


@pytest.mark.data
def test_real_counts_are_those_of_table_1(real_data):
    differing = {(row.corpus, row.split): row.verdict for row in check_all(real_data) if not row.equal}
    assert differing == {
        ("chemdner", "train"): "differs by -6 words",
        ("chemdner", "dev"): "differs by -6 words",
        ("chemdner", "test"): "differs by -2 words",
    }
