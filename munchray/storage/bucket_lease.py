"""A lease's record as an object of an S3 bucket, by conditional writes. (boto3)"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from munchray.errors import InputError, Problem
from munchray.retry import retry
from munchray.storage.address import Address
from munchray.storage.bucket import CONNECT_SECONDS, away
from munchray.storage.lease import POLL_S, Record

REFUSED = ("NoSuchKey", "PreconditionFailed")

T = TypeVar("T")


class BucketLeaseStore:
    """One object, of which the ETag is the version.

    Args:
        address: of the object.
    """

    poll_s = 10 * POLL_S

    def __init__(self, address: Address) -> None:
        self._address = address
        self._object = {"Bucket": address.bucket, "Key": address.path}

    def read(self) -> Record | None:
        """The object; None if there is none."""

        def get() -> Record:
            found = _client(self._address.query).get_object(**self._object)
            return Record(found["Body"].read().decode(), found["ETag"])

        return self._try(get)

    def write(self, text: str, expected: Record | None) -> Record | None:
        """Put it if it is absent, or still has the expected ETag."""
        condition = {"IfMatch": expected.version} if expected else {"IfNoneMatch": "*"}

        def put() -> Record:
            done = _client(self._address.query).put_object(**self._object, Body=text.encode(), **condition)
            return Record(text, done["ETag"])

        return self._try(put) or self._written_before(text)

    def renew(self, record: Record) -> Record | None:
        """Put it with another second line: the ETag may be a digest of the content."""
        return self.write(f"{_first_line(record.text)}\n{uuid.uuid4().hex}", record)

    def remove(self, record: Record) -> None:
        """Delete it if it still has this ETag."""
        self._try(lambda: _client(self._address.query).delete_object(**self._object, IfMatch=record.version))

    def _written_before(self, text: str) -> Record | None:
        """The object, where this process's own earlier request was carried out and only the reply lost."""
        current = self.read()
        return current if current is not None and _first_line(current.text) == _first_line(text) else None

    def _try(self, request: Callable[[], T]) -> T | None:
        """Request, with retries while the server does not answer; None if its answer is that the condition fails."""

        def act() -> T | None:
            try:
                return request()
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code in REFUSED:
                    return None
                raise OSError(code) from error
            except BotoCoreError as error:
                raise OSError(str(error)) from error

        return retry(act, away(self._address))


def check_conditional_writes(address: Address) -> None:
    """Check that the server honours the conditions that a lease depends on: one that ignores them gives it to everyone.

    Args:
        address: of an object that can be made and removed.

    Raises:
        InputError: it ignores them.
    """
    store = BucketLeaseStore(address)
    record, second = store.write("first", None), store.write("second", None)
    for each in filter(None, (record, second)):
        store.remove(each)
    if second is not None:
        found = f"{address.server} ignores If-None-Match, so two processes might run one search"
        raise InputError(Problem(str(address), found, fix="Use a server with conditional writes, or a shared disk"))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


@functools.cache
def _client(query: str) -> Any:
    """A client, of which threads share connections."""
    options = Address("", "", query).options
    server = options.get("endpoint_override")
    if server and "://" not in server:
        server = f"{options.get('scheme', 'https')}://{server}"
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path" if server else "auto"},
        # Only AWS knows the checksums that boto3 adds of itself.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = options.get("region") or ("us-east-1" if server else None)
    return boto3.client("s3", endpoint_url=server, region_name=region, config=config)
