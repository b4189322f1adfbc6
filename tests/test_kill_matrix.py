"""The kill matrix: every fault at three moments of a trial, and what a search loses by it.

A search of three trials a fault: the first is hit before its first checkpoint, the second in the middle of a stage, the
third between two stages. With -s the rows of the table in docs/cluster.md are printed.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from clusters import Cluster
from mlflow_server import check_runs
from processes import SmallDisk, install_sigint, kill_family, words_of

from munchray.settings import load_job
from munchray.training.inputs import prepare
from munchray.training.machine import use_threads
from munchray.training.trial import run_trial
from munchray.training.trial_results import read_epochs, read_result
from munchray.tuning.folder import trial_folder
from munchray.tuning.ranking import ranking

pytestmark = [pytest.mark.slow, pytest.mark.kills]

EPOCHS = 30  # a stage, so that it lasts for several checkpoints on a fast machine too
FULL, NODE = "storage full for five seconds", "worker node killed"
FULL_SECONDS = 5  # in which a trial would end
JOB = f"""
name: night
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space: {{order: {{of: auxiliaries, length: 2}}}}
first_orders:  # all begin differently, so every stage is trained and none reused
- [sample-disease-2, sample-gene-1]
- [sample-gene-1, sample-species-1]
- [sample-species-1, sample-disease-2]
sampler: grid
trials: 3
concurrent_trials: 1
embeddings: [{{train: {{subwords: 8}}}}]
hidden_size: 16
batch_size: 5
learning_rate: 1.0
max_epochs: {EPOCHS}
max_sentences: {{train: 40, dev: 40}}
checkpoint_minutes: 0.01
"""


class Attempt:
    """Where a trial is, as its folder says."""

    def __init__(self, folder, stages):
        self.folder, self._stages = folder, stages

    @property
    def epochs(self):
        """How many were trained."""
        return len(read_epochs(self.folder))

    @property
    def saved(self):
        """How many the checkpoint holds."""
        try:
            return len(json.loads((self.folder / "checkpoint" / "progress.json").read_text())["reports"])
        except FileNotFoundError:
            return 0

    @property
    def published(self):
        """Whether the first stage can be reused."""
        first = json.loads((self.folder / "settings.json").read_text())["auxiliaries"][:1]
        kept = [json.loads(path.read_text())["corpora"] for path in self._stages.glob("[0-9a-f]*/stage.json")]
        return any(corpora[1:] == first for corpora in kept)

    @property
    def finished(self):
        return (self.folder / "result.json").exists()


MOMENTS = {
    "before the first checkpoint": lambda place: place.epochs >= 1 and not place.saved,
    "in a stage": lambda place: 0 < place.saved < place.epochs < EPOCHS,
    "between stages": lambda place: place.saved == EPOCHS and place.published,
}


class Night:
    """A search that is led by the real command, and looked at through its files.

    On the shared cluster; or, with ``disk``, on a Ray of its own that sees the storage there.
    """

    def __init__(self, folder, cluster, features, disk=None):
        self.folder, self.cluster, self.disk = folder, cluster, disk
        self.job_file, self.log = folder / "night.yaml", folder / "log.txt"
        self.job_file.write_text(JOB + f"storage: {folder / 'runs'}\nfeatures: {features}\n")
        self.storage = disk.seen if disk else folder / "runs"
        self.search = self.storage / "night"
        self.job = load_job(self.job_file, [f"storage={self.storage}"])

    def start(self, *changes):
        """The command; the same every time."""
        command = [sys.executable, "-m", "munchray", "search", str(self.job_file), *changes]
        command = [*self.disk.words, *command] if self.disk else [*command, "--address", self.cluster.address]
        with self.log.open("a") as log:
            self.driver = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.cluster.env,
                start_new_session=True,
                preexec_fn=install_sigint,
            )

    def close(self):
        if self.driver.poll() is None:
            kill_family(self.driver)
        if self.disk:
            self.disk.close()

    def place(self, number):
        return Attempt(trial_folder(self.search, number), self.storage / "stages")

    def trainer(self):
        """The process that trains."""
        everyone = self.cluster.processes()
        (found,) = [process for process in everyone if words_of(process).startswith("ray::ImplicitFunc")]
        return found

    def wait_for(self, condition, seconds=200):
        end = time.monotonic() + seconds
        while not condition():
            assert self.driver.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)


def trial_killed(night):
    night.trainer().kill()


def trial_stopped(night):
    night.trainer().send_signal(signal.SIGSTOP)


def node_killed(night):
    night.cluster.kill(night.cluster.node_of(night.trainer()))
    # Another machine comes while the trial goes on elsewhere.
    threading.Thread(target=night.cluster.add, args=[2]).start()


def driver_killed(night):
    trainer = night.trainer()
    night.driver.kill()
    night.driver.wait()
    trainer.wait(60)  # Ray ends what a dead driver had started


def driver_told_to_end(night):
    night.driver.terminate()
    assert night.driver.wait(60) == 130


def head_killed(night):
    trainer = night.trainer()
    night.cluster.kill(0)
    night.driver.wait(120)
    trainer.wait(120)
    night.cluster.start_anew()


def storage_full(night):
    night.disk.fill()
    time.sleep(FULL_SECONDS)
    night.disk.free()


FAULTS = {  # and how the command differs
    "trial process killed": (trial_killed, ()),
    "trial process stopped": (trial_stopped, ("--set", "hung_minutes=0.2")),
    "driver killed": (driver_killed, ()),
    "SIGTERM to the driver": (driver_told_to_end, ()),
    FULL: (storage_full, ()),
    "head killed and started again": (head_killed, ()),
    NODE: (node_killed, ("--set", "resources_per_trial.cpu=1.5")),  # which the head has not
}
# The last one leaves nodes behind, and a trial that trains there may end before it knows that its head was killed.


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        made = Cluster(folder, cpus=1)
        yield made
        made.close()


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, features):
    """What each order gives in one process that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "night.yaml").write_text(JOB + f"storage: {folder}\nfeatures: {features}\n")
    job = load_job(folder / "night.yaml")
    data = prepare(job, lambda line: None)
    use_threads(1)
    found = {}
    for number, entry in enumerate(job.first_orders):
        settings = job.trial(entry)
        found[entry["order"]] = run_trial(settings, data.open(settings), folder / str(number))
    return found


@pytest.fixture
def night(fault, cluster, features, tmp_path):
    if fault == NODE:
        cluster.add(cpus=2)
        cluster.add(cpus=2)
    made = Night(tmp_path, cluster, features, SmallDisk(tmp_path / "runs", "40m") if fault == FULL else None)
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_search_loses_nothing_and_repeats_only_what_no_checkpoint_had(fault, night, undisturbed):
    strike, changes = FAULTS[fault]
    night.start(*changes)
    for number, (moment, reached) in enumerate(MOMENTS.items()):
        place = night.place(number)
        night.wait_for(lambda place=place, reached=reached: reached(place))
        began = time.monotonic()
        strike(night)
        trained, saved, ended = place.epochs, place.saved, night.driver.poll() is not None
        assert not place.finished
        if ended:
            began = time.monotonic()
            night.start(*changes)
        least = lowest_until_further(night, place, trained)
        outcome = "resumed by the same command" if ended else "went on by itself"
        print(f"| {fault} | {moment} | {outcome} | {trained - least} of {trained} | {time.monotonic() - began:.0f} |")
        assert least >= saved
    assert night.driver.wait(200) == 0, night.log.read_text()
    check(night, undisturbed)


def lowest_until_further(night, place, trained):
    """Wait until a trial is further than it was; how many epochs it went on from."""
    seen = [trained]
    night.wait_for(lambda: seen.append(place.epochs) or seen[-1] > trained or place.finished)
    return min(seen)


def check(night, undisturbed):
    """Every trial is there once, with the result that it has where nothing happens."""
    ranked = ranking(night.job)
    assert sorted(trial.number for trial in ranked.trials) == [0, 1, 2]
    assert not ranked.failed
    for trial in ranked.trials:
        result, expected = read_result(trial_folder(night.search, trial.number)), undisturbed[trial.order]
        assert result.weights_digest == expected.weights_digest
        assert result.dev == expected.dev
        assert result.updates == expected.updates
        assert [stage.dev_f1 for stage in result.stages] == [stage.dev_f1 for stage in expected.stages]
        assert trial.dev_f1 == expected.dev_f1(night.job.main)
        curve = read_epochs(trial_folder(night.search, trial.number))
        assert [report.epoch for report in curve] == list(range(1, 2 * EPOCHS + 1))
    database = shutil.copy(night.search / "mlflow.db", night.folder)  # SQLite itself would not find it on another disk
    check_runs(f"sqlite:///{database}", night.search)
    assert not list((night.storage / "stages").glob("*.lease"))
