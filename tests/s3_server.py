"""A real S3-compatible server on this machine, SeaweedFS, with a bucket and keys of its own; for tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pyarrow import fs

WEED = str(Path(sys.executable).with_name("weed"))
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests"}
BUCKET = "searches"
TALKS_ON = 10_000
"""SeaweedFS adds this to each of its ports for its own parts."""


class S3Server:
    """Runs from the moment it is made; what it holds lies in `folder` and outlives a stop.

    Args:
        host: the address of this machine that it is reached by.

    Attributes:
        query: what makes an ``s3://`` address one of this server's.
        env: what a process needs to be let in.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._folder, self._host = folder, host
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
        self.endpoint = f"http://{host}:{self._ports['s3']}"
        self.query = f"endpoint_override={self.endpoint}&region=us-east-1"
        self.env = {**os.environ, **KEYS}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
        known = {"identities": [{"name": "tester", "credentials": [keys], "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(known))
        self.start()
        self._make_bucket()

    def url(self, path: str) -> str:
        """The storage of that name in the bucket."""
        return f"s3://{BUCKET}/{path}?{self.query}"

    def files(self) -> fs.S3FileSystem:
        """The bucket, as somebody else sees it."""
        access = {"access_key": KEYS["AWS_ACCESS_KEY_ID"], "secret_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
        return fs.S3FileSystem(
            **access, endpoint_override=self.endpoint, region="us-east-1", allow_bucket_creation=True
        )

    def objects(self, path: str = "") -> dict[str, int]:
        """Size of each object below a path of the bucket, by what follows the path."""
        above = f"{BUCKET}/{path}".rstrip("/")
        found = self.files().get_file_info(fs.FileSelector(above, recursive=True, allow_not_found=True))
        return {each.path.removeprefix(f"{above}/"): each.size for each in found if each.is_file}

    def start(self) -> None:
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        words = [f"-dir={self._folder}", f"-ip={self._host}", f"-ip.bind={self._host}", "-filer", "-s3", *ports]
        words += [f"-s3.config={self._folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=20"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # fixed ports, which two servers would fight over
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [WEED, "server", *words], stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )

    def stop(self) -> None:
        """Power off."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _make_bucket(self) -> None:
        end = time.monotonic() + 90
        while True:
            try:
                self.files().create_dir(BUCKET)
                with self.files().open_output_stream(f"{BUCKET}/.probe") as stream:
                    stream.write(b"it takes what is written")
                return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise AssertionError((self._folder / "server.log").read_text()[-3000:]) from None
                time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + TALKS_ON))
            except (OSError, OverflowError):
                continue
            found += [port] if port not in found else []
    return found
