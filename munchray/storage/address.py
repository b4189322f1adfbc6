"""Addresses of buckets in ``storage:``: ``s3://bucket/path?endpoint_override=...&region=...``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

SCHEME = "s3://"
OPTIONS = ("endpoint_override", "region", "scheme")
"""The options after the ``?`` that say where the server is; pyarrow knows more."""
FORM = "a folder, or s3://bucket/path"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Environment variables: keys come from nowhere else."""
PACKED = ".tar"
"""Suffix of an object that holds a whole folder."""


@dataclass(frozen=True)
class Address:
    """A path in a bucket.

    Args:
        path: without a slash at its ends; may be empty.
        query: as written; `options` holds what it says.
    """

    bucket: str
    path: str
    query: str

    @property
    def options(self) -> dict[str, str]:
        """The query, parsed."""
        return dict(parse_qsl(self.query))

    @property
    def server(self) -> str:
        """The server's name in messages."""
        return self.options.get("endpoint_override", "Amazon S3")

    def __truediv__(self, name: str) -> Address:
        return Address(self.bucket, f"{self.path}/{name}".strip("/"), self.query)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.path}" + (f"?{self.query}" if self.query else "")


def is_address(text: str) -> bool:
    """Whether a text is an address, not a folder."""
    return "://" in text


def parse(text: str) -> Address:
    """Parse an address.

    Raises:
        ValueError: what is wrong with it, without repeating what may be secret.
    """
    parts = urlsplit(text)
    if f"{parts.scheme}://" != SCHEME:
        raise ValueError(f"is of the kind {parts.scheme}://")
    if "@" in parts.netloc or ":" in parts.netloc:
        raise ValueError("has a key in it, and addresses are written down in many files")
    if not parts.netloc:
        raise ValueError("names no bucket")
    unknown = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - set(OPTIONS))
    if unknown:
        raise ValueError(f"has {', '.join(unknown)} after its '?', where only {', '.join(OPTIONS)} may stand")
    return Address(parts.netloc, "/".join(filter(None, parts.path.split("/"))), parts.query)
