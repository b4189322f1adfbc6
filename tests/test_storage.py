"""Places in a bucket of a real S3 server: what one machine keeps another has, whole; rights that only one has."""

import json
import multiprocessing
import os
import tarfile
import threading
import time

import numpy as np
import pytest
from s3_server import BUCKET, KEYS, S3Server

from munchray.errors import HaltError, InputError
from munchray.features import store
from munchray.features.sources import EmbeddingSource
from munchray.storage import bucket, lease
from munchray.storage.address import parse
from munchray.storage.path import StoragePath, cache_folder
from munchray.storage.workspace import working_in
from munchray.training import shared_stages, stage_cache
from munchray.training.stage_cache import StageCache

PLENTY = 1e9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://bucket/runs", "is of the kind gs://"),
        ("s3:///runs", "names no bucket"),
        ("s3://bucket/runs?regon=x", "has regon after its '?', where only endpoint_override, region, scheme may stand"),
    ],
)
def test_an_address_that_is_none_is_said(text, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        StoragePath.at(text)


def test_a_key_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="has a key in it") as error:
        StoragePath.at("s3://someone:verysecret@bucket/runs")
    assert "verysecret" not in str(error.value)


def test_places_below_each_other_have_addresses_and_folders_below_each_other(monkeypatch, tmp_path):
    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path))
    runs = StoragePath.at("s3://bucket//team/runs/?region=eu-west-1")
    assert str(runs) == "s3://bucket/team/runs?region=eu-west-1"
    trial = runs / "tiny" / "trials/0001"
    assert str(trial) == "s3://bucket/team/runs/tiny/trials/0001?region=eu-west-1"
    assert trial.folder == runs.folder / "tiny/trials/0001"
    assert cache_folder() in trial.folder.parents
    assert runs.within(trial.folder) == trial
    assert StoragePath.at("s3://bucket/team/runs?region=us-east-1").folder != runs.folder
    on_disk = StoragePath.at(tmp_path / "runs")
    assert (on_disk / "tiny").folder == tmp_path / "runs" / "tiny" == on_disk.within(tmp_path / "runs" / "tiny").folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests of this file that need one, each in a path of its own."""
    made = S3Server(tmp_path_factory.mktemp("s3"))
    yield made
    made.stop()


@pytest.fixture
def machine(server, tmp_path, monkeypatch):
    """Be one machine or another: each has a copy of its own of the same place."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)

    def become(name):
        monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / name))
        return StoragePath.at(server.url(tmp_path.name))

    return become


def written(place, name, text):
    path = place.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.slow
def test_files_that_are_kept_arrive_elsewhere_and_so_do_their_changes(machine):
    there = machine("one")
    written(there, "trials/0001/result.json", "1")
    written(there, "study.journal", "a")
    for name in ("trials/0001/result.json", "study.journal"):
        there.upload(name)
    here = machine("two")
    assert not here.folder.exists()
    assert here.sync()
    assert (here.folder / "trials/0001/result.json").read_text() == "1"
    before = (here.folder / "trials/0001/result.json").stat().st_ino
    machine("one")
    written(there, "study.journal", "ab")
    there.upload("study.journal")
    machine("two")
    here.sync()
    assert (here.folder / "study.journal").read_text() == "ab"
    assert (here.folder / "trials/0001/result.json").stat().st_ino == before, "what has not changed is not fetched"
    assert not (here / "nothing").sync()


@pytest.mark.slow
def test_a_folder_arrives_whole_when_it_is_asked_for_and_an_unfinished_one_does_not(machine, server, tmp_path):
    there = machine("one")
    written(there, "model/weights", "w" * 100_000)
    written(there, "model/about.json", "{}")
    there.upload("model")
    here = machine("two")
    here.sync()
    assert not (here.folder / "model").exists()
    assert here.has("model")
    assert here.file_of("model", "about.json") == b"{}"
    assert here.file_of("model", "other.json") is None
    here.download("model")
    assert {path.name: path.stat().st_size for path in (here.folder / "model").iterdir()} == {
        "weights": 100_000,
        "about.json": 2,
    }
    here.download("other")
    assert not (here.folder / "other").exists()
    packed = tmp_path / "cut.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(here.folder / "model", ".")
    with server.files().open_output_stream(f"{BUCKET}/{tmp_path.name}/cut.tar") as stream:
        stream.write(packed.read_bytes()[:60_000])
    here.download("cut")
    assert not (here.folder / "cut").exists()


@pytest.mark.slow
def test_what_one_process_works_on_goes_on_elsewhere_from_what_it_kept(machine):
    trial = machine("one") / "0001"
    with working_in(trial) as work:
        (work.folder / "checkpoint").mkdir()
        (work.folder / "checkpoint" / "progress.json").write_text("1")
        (work.folder / "epochs.jsonl").write_text("a\n")
        work.upload()
        (work.folder / "epochs.jsonl").write_text("a\nb\n")  # and here it dies
    assert not work.folder.exists(), "nothing stays on the machine"
    trial = machine("two") / "0001"
    with working_in(trial) as work:
        assert (work.folder / "checkpoint" / "progress.json").read_text() == "1"
        assert (work.folder / "epochs.jsonl").read_text() == "a\n"
        (work.folder / "checkpoint" / "progress.json").unlink()
        (work.folder / "checkpoint").rmdir()
        (work.folder / "model").mkdir()
        (work.folder / "model" / "weights").write_text("w")
        (work.folder / "result.json").write_text("{}")
        work.upload()
    assert sorted(each.key for each in trial.objects()) == ["epochs.jsonl", "model.tar", "result.json"]


@pytest.mark.slow
def test_only_one_process_has_a_right_and_a_dead_ones_is_free(machine, monkeypatch):
    place = machine("one")
    first, second = place.claim("search"), place.claim("search")
    assert first.acquire() is None
    assert second.acquire()["pid"] == os.getpid()
    first.release()
    assert second.acquire() is None
    second.release()
    elsewhere = json.dumps({"host": "another machine", "pid": 1})
    there = place.claim("search")
    there._bucket.put_text(there._own, elsewhere)
    assert place.claim("search").take() == json.loads(elsewhere)
    monkeypatch.setattr(lease, "TTL_S", 1.0)  # by the server's clock, of whole seconds
    time.sleep(3)
    third = place.claim("search")
    assert third.acquire() is None
    third.release()
    gone = multiprocessing.get_context("spawn").Process(target=os.getpid)
    gone.start()
    gone.join()
    here = json.dumps({"host": lease.owners.this_process()["host"], "pid": gone.pid})
    there._bucket.put_text(there._own, here)
    monkeypatch.setattr(lease, "TTL_S", 60.0)
    fourth = place.claim("search")
    assert fourth.acquire() is None, "its process is known to be dead"
    fourth.release()


@pytest.mark.slow
def test_of_many_that_ask_at_the_same_time_one_gets_the_right(machine):
    place, begin = machine("one"), threading.Barrier(6)
    rights = [place.claim("stage") for _ in range(6)]
    got = []

    def ask(right):
        begin.wait()
        for _ in range(20):  # all may step back at first
            if right.acquire() is None:
                got.append(right)
                return
            if got:
                return

    threads = [threading.Thread(target=ask, args=(right,)) for right in rights]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].release()


@pytest.mark.slow
def test_a_process_that_was_taken_for_dead_learns_it(machine, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.2)
    right = machine("one").claim("search")
    assert right.acquire() is None
    right._bucket.remove(right._own)
    end = time.monotonic() + 20
    while not right.lost and time.monotonic() < end:
        time.sleep(0.1)
    assert right.lost
    right.release()


@pytest.mark.slow
def test_features_are_embedded_by_one_machine_and_brought_to_others_once(machine, tmp_path):
    class Ones:
        fingerprint, width = "ones", 3

        def embed(self, sentences):
            return (np.ones((len(tokens), 3), np.float32) for tokens in sentences)

    sentences = [["a", "b"], ["c"]]
    place = machine("one") / "features"
    store.build(sentences, [EmbeddingSource("ones", Ones)], place, print)
    place = machine("two") / "features"
    store.build(sentences, [EmbeddingSource("ones", lambda: pytest.fail("embedded again"))], place, print)
    assert list(place.folder.glob("*/values")) == [], "this machine has not read them yet"
    opened = []
    readers = [
        threading.Thread(target=lambda: opened.append(store.open_features(sentences, ["ones"], place)))
        for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [features.tokens(np.array([1]), np.array([0])).tolist() for features in opened] == [[[1.0] * 3]] * 4
    (unit,) = place.folder.glob("*/values")
    assert len({(unit.stat().st_ino, part.name) for part in place.folder.glob("*/values")}) == 1


def take_stage(place, cache, told):
    """In a process of another machine, while the first one trains the stage."""
    os.environ["MUNCHRAY_CACHE"] = cache
    shared_stages.LOOK_AGAIN = 0.2
    store = StageCache(place, PLENTY)
    with store.get_or_lock("f" * 32, lambda: told.put("waits")) as kept:
        told.put((kept and kept.record["dev_f1"], stage_cache.inspect(store.folder / ("f" * 32))[0]))


@pytest.mark.slow
def test_a_stage_is_trained_by_one_machine_and_taken_by_the_others(machine, tmp_path):
    record = {"corpora": ["m", "a"], "settings": {"learning_rate": 0.1}, "dev_f1": 50.0}
    one = StageCache(machine("one") / "stages", PLENTY, pytest.fail)
    spawned = multiprocessing.get_context("spawn")
    told = spawned.Queue()
    other = spawned.Process(target=take_stage, args=(one.place, str(tmp_path / "two"), told))
    with one.get_or_lock("f" * 32) as kept:
        assert kept is None
        other.start()
        assert told.get(timeout=120) == "waits"
        one.publish("f" * 32, record, lambda path: path.write_text("weights"))
    other.join(120)
    while (last := told.get(timeout=10)) == "waits":
        pass
    assert last == (50.0, "")
    third = StageCache(machine("three") / "stages", PLENTY, pytest.fail)
    found = [(stage.corpora, stage.dev_f1, stage.damage) for stage in third.listed(verify=False)]
    assert found == [(("m", "a"), 50.0, "")]
    assert list(third.folder.glob("*")) == [], "only its record was looked at"
    assert [stage.damage for stage in third.listed(verify=True)] == [""]
    assert [folder.name for folder in third.prune(0)] == ["f" * 32]
    assert third.listed(verify=False) == []


@pytest.mark.slow
def test_a_server_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_halts(machine, server, monkeypatch):
    place = machine("one")
    written(place, "file", "text")
    server.stop()
    monkeypatch.setattr(bucket, "PATIENCE", 1.0)
    with pytest.raises(HaltError, match="has not answered"):
        place.upload("file")
    with pytest.raises(InputError, match="does not answer"):
        place.check(writable=False)
    monkeypatch.setattr(bucket, "PATIENCE", 120.0)
    again = threading.Timer(1.0, server.start)
    again.start()
    place.upload("file")
    again.join()
    assert place.has("file")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "address", "said"),
    [
        ({}, "{url}", "lets nobody in without keys .*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}, "{url}", "does not let us in"),
        (KEYS, "s3://nobucket/runs?{query}", "has no bucket 'nobucket'"),
        (KEYS, "s3://b/runs?endpoint_override=http://127.0.0.1:1&region=us-east-1", "does not answer"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_said_at_once(server, monkeypatch, keys, address, said, request):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    found = parse(address.format(url=server.url("runs"), query=server.query))
    with pytest.raises(InputError, match=said):
        bucket.Bucket(found).check("runs", writable=True)
