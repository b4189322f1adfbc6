"""The feature store: atomic, shared, and equal to the embedders' features within float16."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from munchray.errors import WorkError
from munchray.features.sources import EmbeddingSource
from munchray.features.store import build, missing, open_features
from munchray.features.units import FLOAT16_MAX
from munchray.storage.path import StoragePath

SENTENCES = [["BRCA1", "is", "a", "gene"], ["a", "gene"], ["BRCA1", "is", "a", "gene"], [], ["x"] * 9, ["a", "gene"]]


def numbers(text: str, width: int) -> np.ndarray:
    return np.random.default_rng(list(text.encode())).standard_normal(width).astype(np.float32)


class Contextual:
    """A token's features depend on the sentence and the position."""

    width = 5

    def __init__(self, fingerprint: str = "context", wait: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.wait = wait
        self.embedded = 0

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        for tokens in sentences:
            time.sleep(self.wait)
            self.embedded += 1
            rows = [numbers(f"{self.fingerprint} {i} {' '.join(tokens)}", self.width) for i in range(len(tokens))]
            yield np.array(rows, np.float32).reshape(len(tokens), self.width)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class Lookup(Contextual):
    """A token's features depend on the token."""

    width = 3

    def vectors_of(self, words: Sequence[str]) -> np.ndarray:
        self.embedded += len(words)
        return np.stack([numbers(self.fingerprint + word, self.width) for word in words])

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        for tokens in sentences:
            yield self.vectors_of(tokens) if tokens else np.zeros((0, self.width), np.float32)


def as_source(embedder: Contextual) -> EmbeddingSource:
    return EmbeddingSource(embedder.fingerprint, lambda: embedder)


def built(store: Path, *embedders: Contextual, sentences: Sequence[Sequence[str]] = SENTENCES) -> list[str]:
    """Build; returns the progress messages."""
    messages: list[str] = []
    build(sentences, [as_source(embedder) for embedder in embedders], StoragePath.at(store), messages.append)
    return messages


def unit_of(store: Path) -> Path:
    (folder,) = [path for path in store.iterdir() if not path.name.startswith(".")]
    return folder


def all_tokens(features, sentences=SENTENCES):
    """The features of every token of every sentence, one after the other."""
    lengths = [len(tokens) for tokens in sentences]
    positions = np.concatenate([np.arange(length) for length in lengths])
    return features.gather(np.repeat(np.arange(len(sentences)), lengths), positions.astype(np.int64))


def test_gathered_features_are_those_of_the_embedders(tmp_path):
    embedders = [Contextual(), Lookup("words")]
    built(tmp_path, *embedders)
    features = open_features(SENTENCES, ["context", "words"], StoragePath.at(tmp_path))
    assert features.width == 8
    asked = [(4, 8), (0, 3), (1, 1), (0, 0), (4, 0)]
    found = features.gather(*np.array(asked).T)
    assert (found.shape, found.dtype) == ((5, 8), np.float16)
    for row, (sentence, position) in zip(found, asked, strict=True):
        expected = np.hstack([next(embedder.embed([SENTENCES[sentence]])) for embedder in embedders])[position]
        np.testing.assert_array_equal(row, expected.astype(np.float16))


def test_columns_follow_the_embedders(tmp_path):
    built(tmp_path, Contextual(), Lookup("words"))
    one = all_tokens(open_features(SENTENCES, ["context", "words"], StoragePath.at(tmp_path)))
    other = all_tokens(open_features(SENTENCES, ["words", "context"], StoragePath.at(tmp_path)))
    np.testing.assert_array_equal(one, np.concatenate([other[:, 3:], other[:, :3]], axis=1))


def test_duplicate_sentences_are_embedded_once(tmp_path):
    contextual, lookup = Contextual(), Lookup("words")
    built(tmp_path, contextual, lookup)
    assert contextual.embedded == 4
    assert lookup.embedded == 5  # distinct words
    (values,) = tmp_path.glob("*/values")
    assert values.stat().st_size == (4 + 2 + 9) * 5 * 2


def test_equal_sentences_share_a_unit(tmp_path):
    built(tmp_path, Contextual())
    for other in ([tuple(tokens) for tokens in SENTENCES], SENTENCES + SENTENCES):
        assert built(tmp_path, again := Contextual(), sentences=other) == []
        assert again.embedded == 0


def test_token_borders_and_order_make_another_unit(tmp_path):
    built(tmp_path, Contextual(), sentences=[["a b"], ["c"]])
    for other in ([["a", "b"], ["c"]], [["a b", "c"]], [["c"], ["a b"]]):
        assert missing(other, ["context"], StoragePath.at(tmp_path)) == ["context"]
    assert missing([["a b"], ["c"]], ["context"], StoragePath.at(tmp_path)) == []
    assert missing([["a b"], ["c"]], ["context", "other"], StoragePath.at(tmp_path)) == ["other"]


def test_a_warm_store_opens_no_embedder(tmp_path):
    built(tmp_path, Contextual())

    def never() -> Contextual:
        raise AssertionError("opened")

    build(SENTENCES, [EmbeddingSource("context", never)], StoragePath.at(tmp_path), print)


def test_values_are_clipped_to_float16(tmp_path):
    class Wide(Contextual):
        def embed(self, sentences):
            yield np.array([[1e6, -1e6, np.inf, -np.inf, 1.0 / 3]], np.float32)

    built(tmp_path, Wide(), sentences=[["a"]])
    (row,) = all_tokens(open_features([["a"]], ["context"], StoragePath.at(tmp_path)), [["a"]])
    np.testing.assert_allclose(row, [FLOAT16_MAX, -FLOAT16_MAX, FLOAT16_MAX, -FLOAT16_MAX, 1 / 3], rtol=2**-11)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, np.nan, 4, 5]], "returned NaN for the sentence 'a'"),
        ([[1.0] * 5] * 2, r"shape \(2, 5\) instead of \(1, 5\)"),
    ],
)
def test_invalid_features_are_refused(tmp_path, rows, message):
    class Wrong(Contextual):
        def embed(self, sentences):
            yield np.array(rows, np.float32)

    with pytest.raises(WorkError, match=message):
        built(tmp_path / "store", Wrong(), sentences=[["a"]])
    assert list((tmp_path / "store").iterdir()) == []


def truncate(unit: Path) -> None:
    os.truncate(unit / "values", 10)


def grow(unit: Path) -> None:
    with (unit / "values").open("ab") as stream:
        stream.write(b"12")


def change_manifest(unit: Path) -> None:
    manifest = json.loads((unit / "manifest.json").read_text())
    (unit / "manifest.json").write_text(json.dumps({**manifest, "width": 2}))


def other_unit(unit: Path) -> None:
    built(unit.parent, Contextual(), sentences=[["other"]])
    (other,) = [path for path in unit.parent.iterdir() if path != unit]
    for file in other.iterdir():
        file.replace(unit / file.name)
    other.rmdir()


def file_instead(unit: Path) -> None:
    for file in unit.iterdir():
        file.unlink()
    unit.rmdir()
    unit.write_text("foreign")


DAMAGES = {
    truncate: "values has 10 bytes instead of 150",
    grow: "values has 152 bytes instead of 150",
    change_manifest: "its manifest has been changed",
    other_unit: "the unit of another text, embedder or version",
    file_instead: "its manifest cannot be read",
    lambda unit: (unit / "values").unlink(): "values does not exist",
    lambda unit: (unit / "manifest.json").unlink(): "manifest.json does not exist",
    lambda unit: (unit / "manifest.json").write_bytes(b"\xff{"): "its manifest cannot be read",
    lambda unit: (unit / "manifest.json").write_text("[]"): "its manifest cannot be read",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_units_are_rebuilt(tmp_path, damage):
    built(tmp_path, Contextual())
    expected = all_tokens(open_features(SENTENCES, ["context"], StoragePath.at(tmp_path)))
    damage(unit_of(tmp_path))
    assert missing(SENTENCES, ["context"], StoragePath.at(tmp_path)) == ["context"]
    with pytest.raises(WorkError, match=f"{DAMAGES[damage]}; `munchray embed` rebuilds them"):
        open_features(SENTENCES, ["context"], StoragePath.at(tmp_path))
    messages = built(tmp_path, Contextual())
    assert messages[0].endswith(f"{DAMAGES[damage]}; rebuilding it")
    np.testing.assert_array_equal(all_tokens(open_features(SENTENCES, ["context"], StoragePath.at(tmp_path))), expected)
    assert len(list(tmp_path.iterdir())) == 1, "nothing else is left in the store"


def test_deep_check_finds_a_changed_byte(tmp_path):
    built(tmp_path, Contextual())
    values = unit_of(tmp_path) / "values"
    values.write_bytes(values.read_bytes()[:-1] + b"\x00")
    assert missing(SENTENCES, ["context"], StoragePath.at(tmp_path)) == []
    assert missing(SENTENCES, ["context"], StoragePath.at(tmp_path), deep=True) == ["context"]


def build_slowly(store: Path) -> None:
    built(store, Contextual(wait=0.05))


def test_two_builders_at_once_end_with_one_store(tmp_path):
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=build_slowly, args=(tmp_path,)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 1
    assert missing(SENTENCES, ["context"], StoragePath.at(tmp_path), deep=True) == []


def test_first_builder_wins(tmp_path):
    class Slower(Contextual):
        def embed(self, sentences):
            built(tmp_path, Contextual())
            self.published = unit_of(tmp_path).stat().st_ino
            yield from super().embed(sentences)

    built(tmp_path, slower := Slower())
    assert unit_of(tmp_path).stat().st_ino == slower.published


def test_leftovers_of_a_killed_builder_expire(tmp_path):
    context = multiprocessing.get_context("fork")
    builder = context.Process(target=lambda: built(tmp_path, Contextual(wait=0.5)))
    builder.start()
    while not list(tmp_path.glob(".*.part/values")):
        time.sleep(0.01)
    builder.kill()
    builder.join()
    (part,) = tmp_path.glob(".*.part")
    built(tmp_path, Contextual())
    assert missing(SENTENCES, ["context"], StoragePath.at(tmp_path)) == []
    assert part.exists(), "it may still be at work"
    for path in (*part.iterdir(), part):
        os.utime(path, (0, time.time() - 25 * 3600))
    built(tmp_path, Contextual())
    assert not part.exists()


def test_unwritable_store_is_reported(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(WorkError, match=r"the feature store .*store cannot be written"):
        built(tmp_path / "store", Contextual())


def test_only_empty_sentences_can_be_stored_too(tmp_path):
    built(tmp_path, Contextual(), sentences=[[], []])
    assert all_tokens(open_features([[], []], ["context"], StoragePath.at(tmp_path)), [[], []]).shape == (0, 5)


def test_reading_is_light_in_imports_and_memory(tmp_path):
    class Large(Contextual):
        width = 1000

        def embed(self, sentences):
            return (np.zeros((len(tokens), 1000), np.float32) for tokens in sentences)

    sentences = [[f"{i}"] * 100 for i in range(200)]  # 40 MB
    built(tmp_path, Large(), sentences=sentences)
    program = (
        "import sys; from munchray.storage.path import StoragePath; import numpy as np\n"
        "from munchray.features.store import open_features\n"
        "def own():\n"
        "    return sum(int(l.split()[1]) for l in open('/proc/self/smaps_rollup') if l.startswith('Anonymous'))\n"
        "sentences = [[f'{i}'] * 100 for i in range(200)]; before = own()\n"
        "features = open_features(sentences, ['context'], StoragePath.at(sys.argv[1]))\n"
        "for i in range(200): features.gather(np.full(100, i), np.arange(100))\n"
        "print(own() - before, [m for m in ('torch', 'flair', 'gensim') if m in sys.modules])"
    )
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("private memory is read from Linux's /proc")
    code = [sys.executable, "-c", program, str(tmp_path)]
    answer = subprocess.run(code, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
    own, modules = answer.split(" ", 1)
    assert modules.strip() == "[]"
    assert int(own) < 10_000, "kB; the array has 40,000"
