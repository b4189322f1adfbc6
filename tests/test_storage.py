"""Storage paths in a bucket of a real S3 server: what one machine uploads another downloads, whole."""

import multiprocessing
import os
import tarfile
import threading

import numpy as np
import pytest
from s3_server import BUCKET, KEYS, S3Server

from munchray import retry
from munchray.errors import HaltError, InputError
from munchray.features import store
from munchray.features.sources import EmbeddingSource
from munchray.storage import bucket
from munchray.storage.address import parse
from munchray.storage.bucket_lease import BucketLeaseStore
from munchray.storage.path import StoragePath, cache_folder
from munchray.storage.workspace import working_in
from munchray.training.stage_cache import StageCache, inspect

PLENTY = 1e9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://bucket/runs", "is of the kind gs://"),
        ("s3:///runs", "names no bucket"),
        ("s3://bucket/runs?regon=x", "has regon after its '?', where only endpoint_override, region, scheme may stand"),
    ],
)
def test_a_wrong_address_is_refused(text, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        StoragePath.at(text)


def test_a_key_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="has a key in it") as error:
        StoragePath.at("s3://someone:verysecret@bucket/runs")
    assert "verysecret" not in str(error.value)


def test_a_path_below_another_has_its_address_and_folder_below(monkeypatch, tmp_path):
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
    """Become one machine or another: each has a copy of its own of the same storage path."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)

    def become(name):
        monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / name))
        return StoragePath.at(server.url(tmp_path.name))

    return become


def written(storage, name, text):
    path = storage.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.slow
def test_uploaded_files_and_changes_reach_another_machine(machine):
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
def test_a_folder_is_downloaded_whole_or_not_at_all(machine, server, tmp_path):
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
def test_a_workspace_resumes_on_another_machine(machine):
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
def test_features_are_embedded_once_and_downloaded(machine, tmp_path):
    class Ones:
        fingerprint, width = "ones", 3

        def embed(self, sentences):
            return (np.ones((len(tokens), 3), np.float32) for tokens in sentences)

    sentences = [["a", "b"], ["c"]]
    storage = machine("one") / "features"
    store.build(sentences, [EmbeddingSource("ones", Ones)], storage, print)
    storage = machine("two") / "features"
    store.build(sentences, [EmbeddingSource("ones", lambda: pytest.fail("embedded again"))], storage, print)
    assert list(storage.folder.glob("*/values")) == [], "this machine has not read them yet"
    opened = []
    readers = [
        threading.Thread(target=lambda: opened.append(store.open_features(sentences, ["ones"], storage)))
        for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [features.gather(np.array([1]), np.array([0])).tolist() for features in opened] == [[[1.0] * 3]] * 4
    (unit,) = storage.folder.glob("*/values")
    assert len({(unit.stat().st_ino, part.name) for part in storage.folder.glob("*/values")}) == 1


def take_stage(storage, cache, told):
    """In a process of another machine, while the first one trains the stage."""
    os.environ["MUNCHRAY_CACHE"] = cache
    BucketLeaseStore.poll_s = 0.2
    store = StageCache(storage, PLENTY)
    with store.get_or_lock("f" * 32, lambda: told.put("waits")) as kept:
        told.put((kept and kept.record["dev_f1"], inspect(store.folder / ("f" * 32))[0]))


@pytest.mark.slow
def test_a_stage_is_trained_by_one_machine_and_used_by_others(machine, tmp_path):
    record = {"corpora": ["m", "a"], "settings": {"learning_rate": 0.1}, "dev_f1": 50.0}
    one = StageCache(machine("one") / "stages", PLENTY, pytest.fail)
    spawned = multiprocessing.get_context("spawn")
    told = spawned.Queue()
    other = spawned.Process(target=take_stage, args=(one.storage, str(tmp_path / "two"), told))
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
    found = [(stage.corpora, stage.dev_f1, stage.damage) for stage in third.stages(verify=False)]
    assert found == [(("m", "a"), 50.0, "")]
    assert list(third.folder.glob("*")) == [], "only its record was looked at"
    assert [stage.damage for stage in third.stages(verify=True)] == [""]
    assert [folder.name for folder in third.prune(0)] == ["f" * 32]
    assert third.stages(verify=False) == []


@pytest.mark.slow
def test_an_absent_server_is_retried_then_halts(machine, server, monkeypatch):
    storage = machine("one")
    written(storage, "file", "text")
    server.stop()
    monkeypatch.setattr(retry, "PATIENCE_S", 1.0)
    with pytest.raises(HaltError, match="has not answered"):
        storage.upload("file")
    with pytest.raises(InputError, match="does not answer"):
        storage.check(writable=False)
    monkeypatch.setattr(retry, "PATIENCE_S", 120.0)
    again = threading.Timer(1.0, server.start)
    again.start()
    storage.upload("file")
    again.join()
    assert storage.has("file")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "address", "said"),
    [
        ({}, "{url}", "refuses access without keys .*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}, "{url}", "refuses access \\("),
        (KEYS, "s3://nobucket/runs?{query}", "has no bucket 'nobucket'"),
        (KEYS, "s3://b/runs?endpoint_override=http://127.0.0.1:1&region=us-east-1", "does not answer"),
    ],
)
def test_an_unusable_bucket_is_reported_at_once(server, monkeypatch, keys, address, said, request):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    found = parse(address.format(url=server.url("runs"), query=server.query))
    with pytest.raises(InputError, match=said):
        bucket.Bucket(found).check("runs", writable=True)
