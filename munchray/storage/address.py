"""What stands in ``storage:`` when it is no folder: ``s3://bucket/path?endpoint_override=...&region=...``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

SCHEME = "s3://"
OPTIONS = ("endpoint_override", "region", "scheme")
"""Of those that pyarrow reads from such an address, the ones that say where the server is."""
FORM = "a folder, or s3://bucket/path"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Environment variables: the only place of keys."""
PACKED = ".tar"
"""Ends the name of an object that is a whole folder."""


@dataclass(frozen=True)
class Address:
    """A place in a bucket.

    Args:
        path: without a slash at its ends; may be empty.
        query: as it was written; `options` are what it says.
    """

    bucket: str
    path: str
    query: str

    @property
    def options(self) -> dict[str, str]:
        """Where the server is."""
        return dict(parse_qsl(self.query))

    @property
    def server(self) -> str:
        """For people."""
        return self.options.get("endpoint_override", "Amazon S3")

    def __truediv__(self, name: str) -> Address:
        return Address(self.bucket, f"{self.path}/{name}".strip("/"), self.query)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.path}" + (f"?{self.query}" if self.query else "")


def is_address(text: str) -> bool:
    """Whether it means something else than a folder."""
    return "://" in text


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        ValueError: what is wrong with it, without what may be secret in it.
    """
    parts = urlsplit(text)
    if f"{parts.scheme}://" != SCHEME:
        raise ValueError(f"is of the kind {parts.scheme}://")
    if "@" in parts.netloc or ":" in parts.netloc:
        raise ValueError("has a key in it, and it is written down in many places")
    if not parts.netloc:
        raise ValueError("names no bucket")
    unknown = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - set(OPTIONS))
    if unknown:
        raise ValueError(f"has {', '.join(unknown)} after its '?', where only {', '.join(OPTIONS)} may stand")
    return Address(parts.netloc, "/".join(filter(None, parts.path.split("/"))), parts.query)
