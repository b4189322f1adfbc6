"""Fetching from a real server on this machine that serves the layout of raw.githubusercontent.com."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from munchray.corpora.catalogue import ENTITY_TYPES, SplitCounts
from munchray.corpora.download import BLOCK
from munchray.corpora.fetch import compress, count_normalised, fetch
from munchray.corpora.sources import SOURCES, Copy, DownloadSource, Pin
from munchray.errors import InputError, Interrupted, WorkError


@dataclass
class Site:
    """Files by their path, what goes wrong, and what was asked for: path, ``Range`` header, bytes sent."""

    base_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: dict[str, list[int]] = field(default_factory=dict)  # bytes after which each answer breaks off
    errors: dict[str, list[int]] = field(default_factory=dict)  # statuses to answer first
    asked: list[tuple[str, str | None, int]] = field(default_factory=list)


def handler_for(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            if site.errors.get(self.path):
                return self.answer(site.errors[self.path].pop(0), b"", wanted)
            if self.path not in site.files:
                return self.answer(404, b"not found", wanted)
            body = site.files[self.path]
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges else 0
            if not start:
                return self.answer(200, body, wanted)
            if start >= len(body):
                return self.answer(416, b"", wanted, f"bytes */{len(body)}")
            return self.answer(206, body[start:], wanted, f"bytes {start}-{len(body) - 1}/{len(body)}")

        def answer(self, status: int, body: bytes, wanted: str | None, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            cuts = site.cuts.get(self.path)
            sent = body[: cuts.pop(0)] if cuts else body
            site.asked.append((self.path, wanted, len(sent)))
            self.wfile.write(sent)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(site)) as server:
        site.base_url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


FIRST, SECOND = Copy("some/corpora", "a" * 40, "data/small"), Copy("other/copy", "b" * 40, "ner/small")


def text_of(split: str, sentences: int = 3) -> bytes:
    """A normalised text of one type."""
    one = f"{split}\tO\nBRCA1\tB-Gene\n-\tI-Gene\n2\tI-Gene\n\n"
    return "".join(one.replace("2", str(number)) for number in range(sentences)).encode()


def pinned(texts: dict[str, bytes], *copies: Copy) -> DownloadSource:
    return DownloadSource(
        "Gene",
        copies or (FIRST,),
        {split: Pin(hashlib.sha256(text).hexdigest(), count_normalised(text)) for split, text in texts.items()},
    )


TEXTS = {split: text_of(split) for split in ("train", "dev", "test")}
SMALL = {"small": pinned(TEXTS)}
LARGE_TEXT = text_of("train", 9000)  # several blocks of the downloader
LARGE = {"large": pinned({"train": LARGE_TEXT})}


def path_of(copy: Copy, split: str) -> str:
    return copy.url("", split)


def serve(site: Site, texts: dict[str, bytes], copy: Copy = FIRST) -> None:
    site.files |= {path_of(copy, split): text for split, text in texts.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in folder.glob("*.gz")}


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetch_is_idempotent(site: Site, tmp_path: Path) -> None:
    serve(site, TEXTS)
    written = fetch([], tmp_path, base_url=site.base_url, sources=SMALL)
    assert written == [tmp_path / "small" / f"{split}.tsv.gz" for split in TEXTS]
    assert contents(tmp_path / "small") == {f"{split}.tsv.gz": text for split, text in TEXTS.items()}
    assert files_in(tmp_path / "small") == ["dev.tsv.gz", "test.tsv.gz", "train.tsv.gz"]

    site.asked.clear()
    assert fetch(["small"], tmp_path, base_url=site.base_url, sources=SMALL) == []
    assert site.asked == []


def test_sources_are_normalised(site: Site, tmp_path: Path) -> None:
    bare = TEXTS["dev"].replace(b"-Gene", b"")
    odd = b"\xef\xbb\xbf-DOCSTART-\tO\n\n\n" + TEXTS["test"].replace(b"\n\n", b"\n \n\n\n").replace(b"\n", b"\r\n")
    unfinished = TEXTS["train"].rstrip(b"\n")
    serve(site, {"train": unfinished, "dev": bare, "test": odd})
    fetch([], tmp_path, base_url=site.base_url, sources=SMALL)
    assert contents(tmp_path / "small") == {f"{split}.tsv.gz": text for split, text in TEXTS.items()}


def test_gzip_has_no_name_or_time() -> None:
    made = compress(TEXTS["train"])
    assert gzip.decompress(made) == TEXTS["train"]
    assert made[:3] == b"\x1f\x8b\x08"
    assert made[3] == 0  # no flags: no name, no comment
    assert made[4:8] == bytes(4)  # the time stamp


def test_broken_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    serve(site, {"train": LARGE_TEXT})
    site.cuts[path_of(FIRST, "train")] = [6 * BLOCK, 4 * BLOCK]
    fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=(0, 0))
    assert contents(tmp_path / "large") == {"train.tsv.gz": LARGE_TEXT}
    asked = [(wanted, sent) for _, wanted, sent in site.asked]
    assert asked == [
        (None, 6 * BLOCK),
        (f"bytes={6 * BLOCK}-", 4 * BLOCK),
        (f"bytes={10 * BLOCK}-", len(LARGE_TEXT) - 10 * BLOCK),
    ]


def test_next_run_resumes_a_partial_file(site: Site, tmp_path: Path) -> None:
    serve(site, {"train": LARGE_TEXT})
    site.cuts[path_of(FIRST, "train")] = [9 * BLOCK]
    with pytest.raises(WorkError, match=r"Run the same command again to resume") as caught:
        fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=())
    assert site.base_url + path_of(FIRST, "train") in str(caught.value)
    assert not (tmp_path / "large" / "train.tsv.gz").exists()

    fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=())
    assert contents(tmp_path / "large") == {"train.tsv.gz": LARGE_TEXT}
    assert [wanted for _, wanted, _ in site.asked] == [None, f"bytes={9 * BLOCK}-"]
    assert sum(sent for _, _, sent in site.asked) == len(LARGE_TEXT)
    assert files_in(tmp_path / "large") == ["train.tsv.gz"]


def test_ctrl_c_keeps_the_partial_file(site: Site, tmp_path: Path) -> None:
    def stop(label: str, here: int, total: int | None) -> None:
        if here > 100_000:
            raise KeyboardInterrupt

    serve(site, {"train": LARGE_TEXT})
    with pytest.raises(Interrupted, match="run the same command again"):
        fetch([], tmp_path, base_url=site.base_url, sources=LARGE, progress=stop)
    (part,) = (tmp_path / "large").iterdir()
    here = part.stat().st_size
    assert here > 100_000

    site.asked.clear()
    fetch([], tmp_path, base_url=site.base_url, sources=LARGE)
    assert site.asked == [(path_of(FIRST, "train"), f"bytes={here}-", len(LARGE_TEXT) - here)]
    assert contents(tmp_path / "large") == {"train.tsv.gz": LARGE_TEXT}


def test_server_without_ranges_restarts(site: Site, tmp_path: Path) -> None:
    serve(site, {"train": LARGE_TEXT})
    site.ranges = False
    site.cuts[path_of(FIRST, "train")] = [6 * BLOCK]
    fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=(0,))
    assert [(wanted, sent) for _, wanted, sent in site.asked] == [
        (None, 6 * BLOCK),
        (f"bytes={6 * BLOCK}-", len(LARGE_TEXT)),
    ]
    assert contents(tmp_path / "large") == {"train.tsv.gz": LARGE_TEXT}


@pytest.mark.parametrize("surplus", [0, 5], ids=["complete", "longer than the file"])
def test_a_partial_file_with_nothing_left_to_ask_for(site: Site, tmp_path: Path, surplus: int) -> None:
    serve(site, {"train": LARGE_TEXT})
    site.cuts[path_of(FIRST, "train")] = [100]
    with pytest.raises(WorkError):
        fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=())
    (part,) = (tmp_path / "large").iterdir()
    part.write_bytes(LARGE_TEXT + b"x" * surplus)  # killed between the last byte and the check, or damaged

    site.asked.clear()
    fetch([], tmp_path, base_url=site.base_url, sources=LARGE, retry_delays=(0,))
    assert contents(tmp_path / "large") == {"train.tsv.gz": LARGE_TEXT}
    assert sum(sent for _, _, sent in site.asked) == (len(LARGE_TEXT) if surplus else 0)


def test_transient_errors_are_retried(site: Site, tmp_path: Path) -> None:
    serve(site, TEXTS)
    site.errors[path_of(FIRST, "dev")] = [503, 429]
    fetch([], tmp_path, base_url=site.base_url, sources=SMALL, retry_delays=(0, 0))
    assert [path for path, _, _ in site.asked].count(path_of(FIRST, "dev")) == 3
    assert len(contents(tmp_path / "small")) == 3


def test_missing_file_is_not_retried(site: Site, tmp_path: Path) -> None:
    serve(site, {"train": TEXTS["train"], "test": TEXTS["test"]})
    with pytest.raises(WorkError) as caught:
        fetch([], tmp_path, base_url=site.base_url, sources=SMALL, retry_delays=(0, 0))
    message = str(caught.value)
    assert f"{site.base_url}{path_of(FIRST, 'dev')}: the server answered 404" in message
    assert "2 files were written and verified" in message
    assert [path for path, _, _ in site.asked].count(path_of(FIRST, "dev")) == 1
    assert files_in(tmp_path / "small") == ["test.tsv.gz", "train.tsv.gz"]

    serve(site, TEXTS)
    assert fetch([], tmp_path, base_url=site.base_url, sources=SMALL) == [tmp_path / "small" / "dev.tsv.gz"]


def test_changed_content_is_refused(site: Site, tmp_path: Path) -> None:
    changed = TEXTS["dev"].replace(b"BRCA1", b"BRCA2", 1)
    serve(site, TEXTS | {"dev": changed, "test": text_of("test", 2)})
    with pytest.raises(WorkError) as caught:
        fetch([], tmp_path, base_url=site.base_url, sources=SMALL)
    message = str(caught.value)
    assert f"is {hashlib.sha256(changed).hexdigest()}, expected {hashlib.sha256(TEXTS['dev']).hexdigest()}" in message
    assert "its counts are right, so tokens or tags were changed" in message
    assert "it has 2 sentences, 8 words, 2 annotations, expected 3 sentences, 12 words, 3 annotations" in message
    assert "Does the URL open in a browser?" in message
    assert files_in(tmp_path / "small") == ["train.tsv.gz"]  # nor is a partial file left to go on with


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"<html>blocked</html>\n",
            "line 1 is '<html>blocked</html>', expected a token, a tab and one of O, B, I",
        ),
        (b"a\tO\n\nb\tB-Disease\n", r"line 3 is 'b\tB-Disease'"),
        (b"a\tO\n\tO\n", r"line 2 is '\tO'"),
        (b"a\xff\tO\n", "can't decode byte 0xff"),
        (b"", "it has 0 sentences, 0 words, 0 annotations"),
    ],
    ids=["a proxy's page", "another type", "an empty token", "not UTF-8", "empty"],
)
def test_invalid_content_is_refused(site: Site, tmp_path: Path, content: bytes, expected: str) -> None:
    serve(site, TEXTS | {"dev": content})
    with pytest.raises(WorkError) as caught:
        fetch([], tmp_path, base_url=site.base_url, sources=SMALL)
    assert expected in str(caught.value).replace("\t", r"\t")
    assert "dev.tsv.gz" not in files_in(tmp_path / "small")


def test_second_copy_is_the_fallback(site: Site, tmp_path: Path) -> None:
    sources = {"small": pinned(TEXTS, FIRST, SECOND)}
    serve(site, {"train": TEXTS["train"], "dev": text_of("dev", 4)})
    serve(site, TEXTS, SECOND)
    fetch([], tmp_path, base_url=site.base_url, sources=sources)
    assert contents(tmp_path / "small") == {f"{split}.tsv.gz": text for split, text in TEXTS.items()}
    assert [path for path, _, _ in site.asked] == [
        path_of(FIRST, "train"),
        *(path_of(copy, split) for split in ("dev", "test") for copy in (FIRST, SECOND)),
    ]


def test_refused_connection_stops_the_fetch(tmp_path: Path) -> None:
    with socket.socket() as held:  # bound but not listening: no other process can take the port
        held.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(WorkError) as caught:
            fetch([], tmp_path, base_url=base_url, sources=SMALL, retry_delays=(0,))
    message = str(caught.value)
    assert f"{base_url}{path_of(FIRST, 'train')}" in message
    assert "Connection refused (attempt 2 of 2). Is there a network connection?" in message
    assert path_of(FIRST, "dev") not in message
    assert message.count("\n") == 1


def test_progress_is_reported(site: Site, tmp_path: Path) -> None:
    serve(site, {"train": LARGE_TEXT})
    reports: list[tuple[str, int, int | None]] = []
    fetch([], tmp_path, base_url=site.base_url, sources=LARGE, progress=lambda *report: reports.append(report))
    assert {(label, total) for label, _, total in reports} == {("large/train", len(LARGE_TEXT))}
    here = [bytes_here for _, bytes_here, _ in reports]
    assert here == sorted(here)
    assert (here[0], here[-1]) == (0, len(LARGE_TEXT))
    assert len(here) > 2


@pytest.mark.parametrize("mine", [compress(text_of("train", 5)), b"no gzip", b""], ids=["other", "text", "empty"])
def test_a_file_of_ones_own_is_never_replaced(site: Site, tmp_path: Path, mine: bytes) -> None:
    serve(site, TEXTS)
    path = tmp_path / "small" / "train.tsv.gz"
    path.parent.mkdir()
    path.write_bytes(mine)
    with pytest.raises(WorkError, match="exists, but is not the file that would be fetched") as caught:
        fetch([], tmp_path, base_url=site.base_url, sources=SMALL)
    assert "It was not changed; move it away to have it downloaded." in str(caught.value)
    assert path.read_bytes() == mine
    assert files_in(tmp_path / "small") == ["dev.tsv.gz", "test.tsv.gz", "train.tsv.gz"]


def test_counts_suffice_only_where_declared(site: Site, tmp_path: Path) -> None:
    renamed = {split: text.replace(b"BRCA1", b"TP53") for split, text in TEXTS.items()}
    serve(site, renamed)
    sources = {"small": replace(SMALL["small"], counts_suffice=True)}
    fetch([], tmp_path, base_url=site.base_url, sources=sources)
    assert contents(tmp_path / "small")["dev.tsv.gz"] == renamed["dev"]
    site.asked.clear()
    assert fetch([], tmp_path, base_url=site.base_url, sources=sources) == []
    assert site.asked == []

    serve(site, {"dev": text_of("dev", 4)})
    (tmp_path / "small" / "dev.tsv.gz").unlink()
    with pytest.raises(WorkError, match=r"4 sentences, 16 words, 4 annotations, expected 3 sentences, 12 words, 3"):
        fetch([], tmp_path, base_url=site.base_url, sources=sources)


def test_unknown_corpora_get_suggestions(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fetch(["ncbi-diseases", "s800", "linneaus"], tmp_path / "data")
    assert [problem.fix for problem in caught.value.problems] == [
        "Did you mean 'ncbi-disease'?",
        "Did you mean 'linnaeus'?",
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1", "http://[bad", "https://"])
def test_a_base_address_that_is_none_is_refused_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(["s800"], tmp_path, base_url=address)
    assert str(caught.value) == (
        f"corpora fetch: base URL '{address}'; expected a URL such as https://raw.githubusercontent.com"
    )


def test_a_target_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(InputError, match=r"data: cannot be written to \(File exists\); expected a folder"):
        fetch(["s800"], tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_that_is_read_only_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        fetch(["s800"], tmp_path)


def test_file_instead_of_a_corpus_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / "small").write_text("mine")
    with pytest.raises(WorkError, match=r"small: File exists"):
        fetch([], tmp_path, base_url=site.base_url, sources=SMALL)


def test_every_published_source_is_pinned_in_full() -> None:
    assert list(SOURCES) == list(ENTITY_TYPES)
    for source in SOURCES.values():
        assert list(source.pins) == ["train", "dev", "test"]
        assert all(re.fullmatch("[0-9a-f]{64}", pin.sha256) for pin in source.pins.values())
        assert all(re.fullmatch("[0-9a-f]{40}", copy.commit) for copy in source.copies)


CHEMDNER_SHORT = {"train": 6, "dev": 6, "test": 2}  # words that the shared conversion has fewer than Table 1


@pytest.mark.slow
@pytest.mark.data
def test_real_corpora_are_fetched_unchanged(site: Site, real_data: Path, tmp_path: Path) -> None:
    real = {
        (name, split): gzip.decompress((real_data / name / f"{split}.tsv.gz").read_bytes())
        for name, source in SOURCES.items()
        for split in source.pins
    }
    for (name, split), text in real.items():
        copy = SOURCES[name].copies[0]
        typed = copy.repository.startswith("cambridgeltl/")  # the BioBERT copies carry bare tags
        bare = text if typed else text.replace(f"-{SOURCES[name].entity_type}\n".encode(), b"\n")
        site.files[path_of(copy, split)] = bare
    assert len(fetch([], tmp_path, base_url=site.base_url)) == 24
    for (name, split), text in real.items():
        found, pinned_counts = count_normalised(text), SOURCES[name].pins[split].counts
        short = CHEMDNER_SHORT[split] if name == "chemdner" else 0
        assert found == SplitCounts(pinned_counts.sentences, pinned_counts.words - short, pinned_counts.annotations)
        assert gzip.decompress((tmp_path / name / f"{split}.tsv.gz").read_bytes()) == text

    site.asked.clear()
    assert fetch([], tmp_path, base_url=site.base_url) == []
    assert site.asked == []
