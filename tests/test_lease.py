"""Leases on disk and in a bucket of a real S3 server: one owner at a time, released with its process."""

import contextlib
import dataclasses
import gc
import http.server
import multiprocessing
import os
import signal
import socket
import threading
import time

import pytest
from s3_server import KEYS, S3Server

from munchray.errors import InputError, WorkError
from munchray.storage import lease
from munchray.storage.address import parse
from munchray.storage.bucket_lease import BucketLeaseStore, check_conditional_writes
from munchray.storage.lease import DiskLeaseStore, Lease, LeaseOwner
from munchray.storage.path import StoragePath
from munchray.tuning.lock import FolderLock

SPAWN = multiprocessing.get_context("spawn")
IN_BUCKET = pytest.param("bucket", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = S3Server(tmp_path_factory.mktemp("s3"))
    yield made
    made.stop()


@pytest.fixture(params=["disk", IN_BUCKET])
def store(request, tmp_path, monkeypatch):
    """The store of a lease that does not exist yet."""
    if request.param == "disk":
        return DiskLeaseStore(tmp_path / "stages" / "stage.lease")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(BucketLeaseStore, "poll_s", 0.2)
    return BucketLeaseStore(parse(request.getfixturevalue("server").url(f"{tmp_path.name}.lease")))


def of(store, **changes):
    """Make a record of an owner that differs from this process."""
    return store.write(dataclasses.replace(LeaseOwner.this_process(), **changes).record(), store.read())


def soon(condition, seconds=20.0):
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_of_many_threads_acquires_it(store):
    leases, start, won = [Lease(store) for _ in range(4)], threading.Barrier(4), []

    def acquire(each):
        start.wait()
        if each.acquire():
            won.append(each)

    threads = [threading.Thread(target=acquire, args=(each,)) for each in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()
    assert leases[0].acquire()
    leases[0].release()
    assert store.read() is None


def take_turns(store, log, start):
    """Acquire the lease a few times, and log its begin and end."""
    held = Lease(store)
    start.wait()
    for _ in range(3):
        while not held.acquire():
            time.sleep(0.01)
        for word in ("begin", "end"):
            with log.open("a") as stream:
                stream.write(f"{word} {os.getpid()}\n")
            time.sleep(0.01)
        held.release()


def test_processes_exclude_each_other(store, tmp_path):
    start, log = SPAWN.Barrier(2), tmp_path / "log"
    workers = [SPAWN.Process(target=take_turns, args=(store, log, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    turns = [line.split() for line in log.read_text().splitlines()]
    assert len(turns) == 12
    for begin, end in zip(turns[::2], turns[1::2], strict=True):
        assert (begin[0], end[0], begin[1]) == ("begin", "end", end[1])


def hold(store, held):
    """Acquire the lease until killed."""
    mine = Lease(store)
    assert mine.acquire()
    held.set()
    time.sleep(600)


def test_a_killed_owner_is_replaced_at_once(store):
    held = SPAWN.Event()
    owner = SPAWN.Process(target=hold, args=(store, held))
    owner.start()
    assert held.wait(120)
    mine = Lease(store)
    assert not mine.acquire()
    assert mine.acquire_or_owner() == mine.owner
    assert mine.owner.pid == owner.pid
    os.kill(owner.pid, signal.SIGKILL)  # not waited for, so it stays a zombie
    soon(mine.acquire, 5)
    owner.join()
    mine.release()


def test_a_reused_process_id_is_no_owner(store):
    assert of(store, started="0")
    mine = Lease(store)
    assert mine.acquire()
    mine.release()


def test_a_foreign_owner_of_the_same_host_name_and_process_id_is_alive(store):
    assert of(store, machine="elsewhere", started="0", host=socket.gethostname())
    assert not Lease(store).acquire()


def test_a_foreign_owner_expires_without_renewals(store, monkeypatch):
    monkeypatch.setattr(lease, "TTL_S", 0.6)
    record, mine = of(store, machine="elsewhere"), Lease(store)
    assert not mine.acquire()
    time.sleep(0.7)
    record = store.renew(record)
    assert not mine.acquire(), "it was renewed"
    time.sleep(0.7)
    assert mine.acquire()
    mine.release()


def test_a_foreign_owner_is_named_once_it_renews(store):
    record, mine = of(store, host="elsewhere", machine="elsewhere"), Lease(store)
    renewal = threading.Timer(0.5, store.renew, (record,))
    renewal.start()
    assert str(mine.acquire_or_owner()) == f"process {os.getpid()} on elsewhere"
    renewal.join()


def test_an_unreadable_record_expires(store, monkeypatch):
    monkeypatch.setattr(lease, "TTL_S", 0.3)
    assert store.write("", None)
    mine = Lease(store)
    assert mine.acquire_or_owner() is None
    mine.release()


def test_only_the_record_that_was_judged_is_replaced(store):
    judged = of(store, machine="elsewhere")
    current = store.read()
    store.renew(judged)
    assert store.write("mine", current) is None


def test_a_lost_lease_is_noticed_and_left_to_its_new_owner(store, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.2)
    mine = Lease(store)
    assert mine.acquire()
    time.sleep(0.5)
    assert not mine.lost
    while (record := of(store, machine="elsewhere")) is None:  # it was renewed in between
        pass
    soon(lambda: mine.lost)
    mine.release()
    assert store.read().text == record.text


def test_a_garbage_collected_lease_is_released(store):
    assert Lease(store).acquire()
    gc.collect()
    assert store.read() is None


def test_a_folder_lock_names_its_owner_and_notices_its_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    storage = StoragePath.at(tmp_path / "runs")
    first, second = FolderLock(storage), FolderLock(storage)
    first.acquire()
    first.acquire()
    with pytest.raises(InputError, match=rf"another process runs this search \(process {os.getpid()} on "):
        second.acquire()
    first.check()
    (tmp_path / "runs" / "search.lease").write_text("another owner")

    def check_fails():
        with contextlib.suppress(WorkError):
            return first.check()
        return True

    soon(check_fails)
    first.release()
    assert (tmp_path / "runs" / "search.lease").exists()


class Careless(http.server.BaseHTTPRequestHandler):
    """A server that accepts every write and ignores its conditions."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        pass


def test_a_server_that_ignores_conditions_is_refused(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless) as careless:
        threading.Thread(target=careless.serve_forever, daemon=True).start()
        url = f"s3://b/probe?endpoint_override=http://127.0.0.1:{careless.server_port}&region=us-east-1"
        with pytest.raises(InputError, match="ignores If-None-Match"):
            check_conditional_writes(parse(url))
        careless.shutdown()
