"""Fetch the eight corpora: download what is not there, check it, write ``<corpus>/<split>.tsv.gz``."""

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
from munchray.corpora.download import NotThereError, UnreachableError, download
from munchray.corpora.sources import SOURCES, DownloadSource
from munchray.errors import InputError, Interrupted, Problem, WorkError, nearest
from munchray.files import written_aside

GITHUB = "https://raw.githubusercontent.com"
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the second to the fifth attempt at a file

Progress = Callable[[str, int, int | None], None]  # "ncbi-disease/train", bytes here, bytes in all if known


def fetch(
    names: Iterable[str],
    target: Path,
    *,
    base_url: str = GITHUB,
    sources: Mapping[str, DownloadSource] = SOURCES,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> list[Path]:
    """Bring the named corpora (all of ``sources`` when none is named) into the folder ``target``.

    A file that is there and whole is left alone; one that is there and something else is never replaced. A
    corpus that fails does not stop the others. A download that breaks off is gone on with the next time.

    Args:
        base_url: a server with the layout of raw.githubusercontent.com, for instance a mirror.
        waits: seconds between the attempts at one file.

    Returns:
        The files written now; an empty list when all were there.

    Raises:
        InputError: unknown names, a base address that is none, or a target that cannot be written to.
        WorkError: files that could not be had, each with its address and what to do; the rest is in position.
        Interrupted: by Ctrl-C; what came is kept.
    """
    wanted = _wanted(names, sources, base_url)
    _check_writable(target)
    errand = _Errand(target, base_url, progress or (lambda label, here, total: None), waits)
    written: list[Path] = []
    failures: list[str] = []
    try:
        for name in wanted:
            for split in sources[name].pins:
                try:
                    written += errand.bring(name, split, sources[name])
                except WorkError as failure:
                    failures.append(str(failure))
    except UnreachableError as failure:  # all files are on the same server
        failures.append(f"{failure}. Is there a network connection? A proxy is taken from HTTPS_PROXY.")
    except OSError as failure:  # the disk is full, or a file is where a folder should be
        failures.append(f"{failure.filename or target}: {failure.strerror}.")
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Fetching stopped; run the same command again to go on. {_kept(written)}") from stop
    if failures:
        raise WorkError("\n".join([*failures, f"{_kept(written)} Run the same command again to go on."]))
    return written


def _kept(written: list[Path]) -> str:
    files = "1 file was" if len(written) == 1 else f"{len(written)} files were"
    return f"{files} written and checked; what was there before is unchanged."


def _wanted(names: Iterable[str], sources: Mapping[str, DownloadSource], base_url: str) -> list[str]:
    wanted = list(dict.fromkeys(names)) or list(sources)
    problems = [
        Problem("corpora fetch", f"unknown corpus '{name}'", "a published corpus", nearest(name, sources))
        for name in wanted
        if name not in sources
    ]
    if not re.match(r"https?://[\w.-]+(:\d+)?(/|$)", base_url):
        problems.append(Problem("corpora fetch", f"base address '{base_url}'", f"an address such as {GITHUB}"))
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
class _Errand:
    """Where files come from and where they go."""

    target: Path
    base_url: str
    progress: Progress
    waits: Sequence[float]

    def bring(self, name: str, split: str, source: DownloadSource) -> list[Path]:
        """One file, from the first of its copies that is what it should be; nothing when it is there."""
        path = self.target / name / f"{split}.tsv.gz"
        if path.exists():
            _check_present(path, source, split)
            return []
        path.parent.mkdir(exist_ok=True)
        refused = []
        for copy in source.copies:
            address = copy.address(self.base_url, split)
            try:
                raw = self._downloaded(address, path, partial(self.progress, f"{name}/{split}"))
                text = normalised(raw, source.entity_type)
                check(text, source, split)
            except (NotThereError, ValueError) as fault:
                refused.append(f"  {address}: {fault}")
                continue
            with written_aside(path) as aside:
                aside.write_bytes(compressed(text))
            return [path]
        raise WorkError("\n".join([f"{path} was not written:", *refused, f"  {ADVICE}"]))

    def _downloaded(self, address: str, path: Path, heard: Callable[[int, int | None], None]) -> bytes:
        """The file at an address. Only a download that broke off leaves its partial file behind."""
        key = hashlib.sha256(address.encode()).hexdigest()[:8]  # another copy must not go on with these bytes
        part = path.parent / f".{path.name}.{key}.part"
        try:
            download(address, part, waits=self.waits, heard=heard)
        except UnreachableError as fault:
            raise UnreachableError(f"{address}: {fault}") from fault
        raw = part.read_bytes()
        part.unlink()
        return raw


ADVICE = (
    "Does the address open in a browser? If a proxy changes what passes, use another base address; if the "
    "source is gone, put the file there yourself."
)


def _check_present(path: Path, source: DownloadSource, split: str) -> None:
    try:
        check(gzip.decompress(path.read_bytes()), source, split)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as fault:
        fix = "It was not changed; move it away to have it downloaded."
        raise WorkError(f"{path} is there already, but is not what would be fetched: {fault}. {fix}") from fault


def normalised(raw: bytes, entity_type: str) -> bytes:
    """A source file in the form the corpora are kept in, which is also what the checksums are of.

    UTF-8 without a byte order mark, LF line ends, ``token<TAB>tag`` lines, one blank line after each
    sentence, no ``-DOCSTART-``; the tags ``B`` and ``I`` get the entity type.

    Raises:
        ValueError: names the first line that is not a token and a tag of this corpus.
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


def counted(text: bytes) -> SplitCounts:
    """The counts of a normalised text."""
    return SplitCounts(text.count(b"\n\n"), text.count(b"\t"), text.count(b"\tB-"))


def check(text: bytes, source: DownloadSource, split: str) -> None:
    """Compare a normalised text with what is pinned.

    Raises:
        ValueError: the counts or the checksum, found and expected, when it is something else.
    """
    pin = source.pins[split]
    found = hashlib.sha256(text).hexdigest()
    counts = counted(text)
    if found == pin.sha256 or (source.counts_suffice and counts == pin.counts):
        return
    if counts != pin.counts:
        raise ValueError(f"it has {_shown(counts)}, expected {_shown(pin.counts)}")
    raise ValueError(
        f"its sha256, once normalised, is {found}, expected {pin.sha256}; its counts are right, so tokens "
        "or tags were changed"
    )


def _shown(counts: SplitCounts) -> str:
    return f"{counts.sentences:,} sentences, {counts.words:,} words, {counts.annotations:,} annotations"


def compressed(text: bytes) -> bytes:
    """A normalised text as ``.gz``, without a name or a time, so that the same text gives the same file."""
    return gzip.compress(text, 9, mtime=0)
