"""Fetch the eight corpora: download missing files, verify them against pins, write ``<corpus>/<split>.tsv.gz``."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from munchray.corpora.catalogue import SplitCounts
from munchray.corpora.download import OnProgress, PermanentError, UnreachableError, download
from munchray.corpora.sources import SOURCES, DownloadSource
from munchray.errors import InputError, Interrupted, Problem, WorkError, nearest
from munchray.files import written_aside

GITHUB = "https://raw.githubusercontent.com"
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second to the fifth attempt at a file

Progress = Callable[[str, int, int | None], None]  # "ncbi-disease/train", bytes received, total if known


def fetch(
    names: Iterable[str],
    target: Path,
    *,
    base_url: str = GITHUB,
    sources: Mapping[str, DownloadSource] = SOURCES,
    progress: Progress | None = None,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> list[Path]:
    """Download the named corpora (default: all of ``sources``) into the folder ``target``.

    An existing file that passes verification is kept; any other existing file is never replaced. A corpus that
    fails does not stop the others. An interrupted download is resumed by the next call.

    Args:
        base_url: a server with the layout of raw.githubusercontent.com, for instance a mirror.
        retry_delays: seconds between the attempts at one file.

    Returns:
        The files written by this call; an empty list if all existed.

    Raises:
        InputError: unknown names, an invalid base URL, or a target that cannot be written to.
        WorkError: files that could not be fetched, each with its URL and advice; the others are written.
        Interrupted: by Ctrl-C; what was received is kept.
    """
    wanted = _checked_names(names, sources, base_url)
    _check_writable(target)
    fetcher = _Fetcher(target, base_url, progress or (lambda label, received, total: None), retry_delays)
    written: list[Path] = []
    failures: list[str] = []
    try:
        for name in wanted:
            for split in sources[name].pins:
                try:
                    written += fetcher.fetch(name, split, sources[name])
                except WorkError as failure:
                    failures.append(str(failure))
    except UnreachableError as failure:  # all files are on the same server
        failures.append(f"{failure}. Is there a network connection? A proxy is taken from HTTPS_PROXY.")
    except OSError as failure:  # the disk is full, or a file is where a folder should be
        failures.append(f"{failure.filename or target}: {failure.strerror}.")
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Fetching stopped; run the same command again to resume. {_summary(written)}") from stop
    if failures:
        raise WorkError("\n".join([*failures, f"{_summary(written)} Run the same command again to resume."]))
    return written


def _summary(written: list[Path]) -> str:
    files = "1 file was" if len(written) == 1 else f"{len(written)} files were"
    return f"{files} written and verified; existing files are unchanged."


def _checked_names(names: Iterable[str], sources: Mapping[str, DownloadSource], base_url: str) -> list[str]:
    wanted = list(dict.fromkeys(names)) or list(sources)
    problems = [
        Problem("corpora fetch", f"unknown corpus '{name}'", "a published corpus", nearest(name, sources))
        for name in wanted
        if name not in sources
    ]
    if not re.match(r"https?://[\w.-]+(:\d+)?(/|$)", base_url):
        problems.append(Problem("corpora fetch", f"base URL '{base_url}'", f"a URL such as {GITHUB}"))
    if problems:
        raise InputError(*problems)
    return wanted


def _check_writable(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        found = f"cannot be written to ({error.strerror})"
        problem = Problem(str(target), found, "a folder to put corpora in", "Name another folder.")
        raise InputError(problem) from error


@dataclass(frozen=True)
class _Fetcher:
    """Downloads single files of one server into one folder."""

    target: Path
    base_url: str
    progress: Progress
    retry_delays: Sequence[float]

    def fetch(self, name: str, split: str, source: DownloadSource) -> list[Path]:
        """Write one file from the first of its copies that passes verification; an empty list if the file exists."""
        path = self.target / name / f"{split}.tsv.gz"
        if path.exists():
            _verify_existing(path, source, split)
            return []
        path.parent.mkdir(exist_ok=True)
        refused = []
        for copy in source.copies:
            url = copy.url(self.base_url, split)
            try:
                raw = self._download(url, path, partial(self.progress, f"{name}/{split}"))
                text = normalise(raw, source.entity_type)
                verify(text, source, split)
            except (PermanentError, ValueError) as error:
                refused.append(f"  {url}: {error}")
                continue
            with written_aside(path) as aside:
                aside.write_bytes(compress(text))
            return [path]
        raise WorkError("\n".join([f"{path} was not written:", *refused, f"  {ADVICE}"]))

    def _download(self, url: str, path: Path, on_progress: OnProgress) -> bytes:
        """The content of a URL. Only an interrupted download leaves its partial file behind."""
        key = hashlib.sha256(url.encode()).hexdigest()[:8]  # another copy must not resume from these bytes
        part = path.parent / f".{path.name}.{key}.part"
        try:
            download(url, part, retry_delays=self.retry_delays, on_progress=on_progress)
        except UnreachableError as error:
            raise UnreachableError(f"{url}: {error}") from error
        raw = part.read_bytes()
        part.unlink()
        return raw


ADVICE = (
    "Does the URL open in a browser? If a proxy changes the content, use another base URL; if the source is "
    "gone, put the file there yourself."
)


def _verify_existing(path: Path, source: DownloadSource, split: str) -> None:
    try:
        verify(gzip.decompress(path.read_bytes()), source, split)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        fix = "It was not changed; move it away to have it downloaded."
        raise WorkError(f"{path} exists, but is not the file that would be fetched: {error}. {fix}") from error


def normalise(raw: bytes, entity_type: str) -> bytes:
    """A source file in the form in which corpora are stored and checksums are taken.

    UTF-8 without a byte order mark, LF line ends, ``token<TAB>tag`` lines, one blank line after each
    sentence, no ``-DOCSTART-``; the tags ``B`` and ``I`` get the entity type.

    Raises:
        ValueError: the first line that is not a token and a tag of this corpus.
    """
    tags = {"O": "O", "B": f"B-{entity_type}", "I": f"I-{entity_type}"}
    tags |= {tag: tag for tag in tags.values()}
    sentences = _sentences(raw.decode("utf-8-sig"), tags)
    return "".join("\n".join(lines) + "\n\n" for lines in sentences).encode()


def _sentences(text: str, tags: Mapping[str, str]) -> Iterator[list[str]]:
    """The sentences of a source file, each as its normalised lines."""
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if lines:
                yield lines
            lines = []
            continue
        token, tab, tag = line.rstrip("\r").partition("\t")
        if not (token and tab and tag in tags):
            raise ValueError(f"line {number} is '{line[:60]}', expected a token, a tab and one of {', '.join(tags)}")
        lines.append(f"{token}\t{tags[tag]}")


def count_normalised(text: bytes) -> SplitCounts:
    """The counts of a normalised text."""
    return SplitCounts(text.count(b"\n\n"), text.count(b"\t"), text.count(b"\tB-"))


def verify(text: bytes, source: DownloadSource, split: str) -> None:
    """Compare a normalised text with its pinned checksum and counts.

    Raises:
        ValueError: they differ; with the counts or the checksum, found and expected.
    """
    pin = source.pins[split]
    found = hashlib.sha256(text).hexdigest()
    counts = count_normalised(text)
    if found == pin.sha256 or (source.counts_suffice and counts == pin.counts):
        return
    if counts != pin.counts:
        raise ValueError(f"it has {_format(counts)}, expected {_format(pin.counts)}")
    raise ValueError(
        f"its sha256, once normalised, is {found}, expected {pin.sha256}; its counts are right, so tokens "
        "or tags were changed"
    )


def _format(counts: SplitCounts) -> str:
    return f"{counts.sentences:,} sentences, {counts.words:,} words, {counts.annotations:,} annotations"


def compress(text: bytes) -> bytes:
    """A text as ``.gz`` without file name and time stamp, so that equal texts give equal files."""
    return gzip.compress(text, 9, mtime=0)
