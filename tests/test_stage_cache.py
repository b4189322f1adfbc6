"""The stage cache: reuse saves work and changes no result, though processes are killed and files damaged."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import threading
import time
from itertools import permutations
from pathlib import Path

import pytest
from toys import toy_data, toy_settings

from munchray.errors import InputError
from munchray.storage import lease
from munchray.storage.lease import DiskLeaseStore, LeaseOwner
from munchray.storage.path import StoragePath
from munchray.training import stage_cache
from munchray.training.stage_cache import StageCache, inspect
from munchray.training.trial import TrialOptions, run_trial
from munchray.training.trial_results import read_epochs

SIZES = {"m": 16, "a": 12, "b": 8, "c": 8}
PLENTY = 1e9


@pytest.fixture
def store(tmp_path):
    return StageCache(StoragePath.at(tmp_path / "stages"), PLENTY, warn=pytest.fail)


def trained(folder, order, store=None, **changes):
    """A Stack trial of toy corpora."""
    settings = toy_settings("stack", order, max_epochs=3, **changes)
    return run_trial(settings, toy_data(SIZES), folder, TrialOptions(stage_cache=store))


def new_stages(result):
    return [stage.auxiliaries for stage in result.stages if not stage.reused]


def without_times(folder):
    kept = ("epoch", "stage", "stage_name", "stage_epoch", "updates", "learning_rate", "train_loss", "dev_f1")
    return [[getattr(report, name) for name in kept] for report in read_epochs(folder)]


def test_weights_are_equal_with_and_without_the_cache(tmp_path, store):
    order = ("a", "b", "c")
    alone = trained(tmp_path / "alone", order)
    cold = trained(tmp_path / "cold", order, store)
    warm = trained(tmp_path / "warm", order, store)
    (deleted,) = [path for path in store.entries() if inspect(path)[1]["corpora"] == ["m", "a", "b"]]
    shutil.rmtree(deleted)
    half = trained(tmp_path / "half", order, store)
    assert {r.weights_digest for r in (alone, cold, warm, half)} == {alone.weights_digest}
    assert [len(new_stages(r)) for r in (alone, cold, warm, half)] == [3, 3, 0, 1]
    assert without_times(tmp_path / "warm") == without_times(tmp_path / "alone") == without_times(tmp_path / "half")
    assert {r.updates for r in (alone, cold, warm, half)} == {alone.updates}


def test_orders_share_prefixes_and_score_as_if_trained_alone(tmp_path, store):
    orders = [*permutations("abc"), *permutations("abc", 2), ("b",)]
    together = {order: trained(tmp_path / "".join(order), order, store) for order in orders}
    alone = {order: trained(tmp_path / ("alone" + "".join(order)), order) for order in orders}
    for order in orders:
        assert together[order].weights_digest == alone[order].weights_digest
        assert together[order].dev == alone[order].dev
        assert [s.dev_f1 for s in together[order].stages] == [s.dev_f1 for s in alone[order].stages]
    assert sum(len(new_stages(r)) for r in alone.values()) == 31
    assert sum(len(new_stages(r)) for r in together.values()) == 15 == len(store.entries())


def test_single_aux_is_a_stage_of_depth_one(tmp_path, store):
    run_trial(
        toy_settings("single_aux", ("b",), max_epochs=3),
        toy_data(SIZES),
        tmp_path / "one",
        TrialOptions(stage_cache=store),
    )
    assert new_stages(trained(tmp_path / "two", ("b", "a"), store)) == [("b", "a")]


@pytest.mark.parametrize("regime", ["single_task", "concatenation", "iteration"])
def test_other_regimes_cache_nothing(tmp_path, store, regime):
    settings = toy_settings(regime, () if regime == "single_task" else ("a", "b"), max_epochs=1)
    run_trial(settings, toy_data(SIZES), tmp_path / "trial", TrialOptions(stage_cache=store))
    assert store.entries() == []


@pytest.mark.parametrize("change", [{"seed": 2}, {"learning_rate": 0.4}, {"batch_size": 8}, {"patience": 2}])
def test_another_setting_or_seed_shares_nothing(tmp_path, store, change):
    trained(tmp_path / "one", ("a",), store)
    assert new_stages(trained(tmp_path / "two", ("a",), store, **change)) == [("a",)]


def test_another_text_shares_nothing(tmp_path, store):
    trained(tmp_path / "one", ("a",), store)
    settings = toy_settings("stack", ("a",), max_epochs=3)
    other = run_trial(settings, toy_data({**SIZES, "a": 13}), tmp_path / "two", TrialOptions(stage_cache=store))
    assert new_stages(other) == [("a",)]


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "its weights have been changed": lambda folder: flip(folder / "weights.safetensors"),
    "weights.safetensors is not there": lambda folder: (folder / "weights.safetensors").unlink(),
    "stage.json is not there": lambda folder: (folder / "stage.json").unlink(),
    "its record cannot be read": lambda folder: (folder / "stage.json").write_text("{"),
    "its record has been changed": lambda folder: (folder / "stage.json").write_text(
        (folder / "stage.json").read_text().replace('"dev_f1": ', '"dev_f1": 1', 1)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_deleted_and_trained_again(tmp_path, damage):
    told = []
    store = StageCache(StoragePath.at(tmp_path / "stages"), PLENTY, told.append)
    first = trained(tmp_path / "one", ("a",), store)
    (folder,) = store.entries()
    DAMAGES[damage](folder)
    again = trained(tmp_path / "two", ("a",), store)
    assert again.weights_digest == first.weights_digest
    assert new_stages(again) == [("a",)]
    assert told == [f"{folder}: {damage}; training that stage again"]
    assert inspect(folder)[0] == ""


def test_the_least_recently_used_stages_are_evicted(tmp_path, store):
    for name in "abc":
        trained(tmp_path / name, (name,), store)
    sizes = [stage_cache.size_of(folder) for folder in store.entries()]
    used = trained(tmp_path / "again", ("a",), store)
    assert new_stages(used) == []
    store.prune(sum(sizes) - 1)
    assert [inspect(folder)[1]["corpora"] for folder in store.entries()] == [["m", "c"], ["m", "a"]]
    StageCache(store.storage, max(sizes) + 1, pytest.fail).publish("f" * 32, {}, lambda path: path.write_text("x"))
    assert [folder.name for folder in store.entries()][-1] == "f" * 32, "the newest stays"


def test_another_version_is_refused_and_kept(tmp_path, store):
    trained(tmp_path / "one", ("a",), store)
    (store.folder / "format.json").write_text(json.dumps({"format": "munchray stages", "version": 7}))
    with pytest.raises(InputError, match=r"a stage cache of version 7; expected version 1"):
        StageCache(StoragePath.at(store.folder), PLENTY)
    assert len(store.entries()) == 1


def test_an_unwritable_cache_only_means_more_work(tmp_path):
    told = []
    result = trained(tmp_path / "one", ("a",))
    (tmp_path / "blocked").write_text("a file where a folder should be")
    blocked = StageCache(StoragePath.at(tmp_path / "blocked" / "stages"), PLENTY, told.append)
    assert trained(tmp_path / "two", ("a",), blocked).weights_digest == result.weights_digest
    assert "cannot be written (Not a directory); continuing without" in told[0]


class FullStore(StageCache):
    """The kernel refuses files larger than a record, as when a disk is full."""

    def publish(self, *args):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
        try:
            super().publish(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_cache_only_means_more_work(tmp_path):
    told = []
    full = FullStore(StoragePath.at(tmp_path / "stages"), PLENTY, told.append)
    result = trained(tmp_path / "one", ("a", "b"), full)
    assert result.weights_digest == trained(tmp_path / "two", ("a", "b")).weights_digest
    assert len(told) == 2
    assert "cannot be written" in told[0]
    assert "File too large" in told[0]
    assert [path.name for path in full.folder.iterdir()] == ["format.json"]  # no half stage, no lease
    roomy = StageCache(full.storage, PLENTY, pytest.fail)
    assert new_stages(trained(tmp_path / "three", ("a",), roomy)) == [("a",)]


@contextlib.contextmanager
def only_reading(folder):
    """Nothing in the folder can be written, not even by root, whose user changes meanwhile."""
    paths, root = [folder, *folder.rglob("*")], os.geteuid() == 0
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_read_only_cache_is_read():
    told = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        first = trained(
            folder / "first", ("a", "b"), StageCache(StoragePath.at(folder / "stages"), PLENTY, pytest.fail)
        )
        before = sorted((folder / "stages").rglob("*"))
        with only_reading(folder / "stages"):
            store = StageCache(StoragePath.at(folder / "stages"), PLENTY, told.append)
            second = trained(folder / "open" / "second", ("a", "c"), store)
            again = trained(folder / "open" / "again", ("a", "b"), store)
        assert (new_stages(second), new_stages(again)) == ([("a", "c")], [])
        assert again.weights_digest == first.weights_digest
        assert sorted((folder / "stages").rglob("*")) == before
    assert all("cannot be written (Permission denied); continuing without" in line for line in told)
    assert told


def train_in_a_process(folder, store_folder, started):
    store = StageCache(StoragePath.at(store_folder), PLENTY)
    started.wait()
    trained(folder, ("a", "b"), store)


def test_concurrent_processes_train_each_stage_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    folders = [tmp_path / str(n) for n in range(3)]
    workers = [
        context.Process(target=train_in_a_process, args=(folder, tmp_path / "stages", started)) for folder in folders
    ]
    for worker in workers:
        worker.start()
    started.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    trained_stages = [tuple(s["auxiliaries"]) for r in results for s in r["stages"] if not s["reused"]]
    assert sorted(trained_stages) == [("a",), ("a", "b")]
    assert len({r["weights_digest"] for r in results}) == 1
    assert not list((tmp_path / "stages").glob("*.lease"))


def lock_and_wait(store_folder, locked):
    with StageCache(StoragePath.at(store_folder), PLENTY).get_or_lock("0" * 32):
        locked.set()
        time.sleep(600)


def test_a_killed_process_gives_its_stage_up_at_once(tmp_path, store):
    context = multiprocessing.get_context("spawn")
    locked = context.Event()
    owner = context.Process(target=lock_and_wait, args=(store.folder, locked))
    owner.start()
    locked.wait()
    killer = threading.Timer(0.3, lambda: os.kill(owner.pid, signal.SIGKILL))
    killer.start()
    with store.get_or_lock("0" * 32) as kept:  # though the killed process is still a zombie
        assert kept is None
    owner.join()


def foreign_lease(store):
    """A stage's lease of a process on another machine."""
    owner = dataclasses.replace(LeaseOwner.this_process(), host="elsewhere", machine="elsewhere")
    path = store.folder / ("0" * 32 + ".lease")
    DiskLeaseStore(path).write(owner.record(), None)
    return path


@pytest.fixture
def _short(monkeypatch):
    monkeypatch.setattr(lease, "TTL_S", 0.6)
    monkeypatch.setattr(DiskLeaseStore, "poll_s", 0.05)


@pytest.mark.usefixtures("_short")
def test_a_lease_of_another_machine_expires_though_clocks_jump(store):
    path = foreign_lease(store)
    beats = []

    def beat():
        if len(beats) < 20:  # a second of life, by a clock that jumps about
            beats.append(0)
            os.utime(path, ((-1) ** len(beats) * 1e6 + 2e9 + len(beats), 2e9 + (-1) ** len(beats) * 1e6 + len(beats)))

    with store.get_or_lock("0" * 32, waiting=beat) as kept:
        assert kept is None
    assert len(beats) == 20


@pytest.mark.usefixtures("_short")
def test_a_stage_published_during_a_wait_is_used(tmp_path, store):
    path = foreign_lease(store)
    threading.Timer(0.3, lambda: (store.publish("0" * 32, {}, lambda p: p.write_text("x")), path.unlink())).start()
    with store.get_or_lock("0" * 32) as kept:
        assert kept is not None
        assert Path(kept.weights).read_text() == "x"
