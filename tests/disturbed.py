"""Searches that faults strike while a trial trains, and what must be true of them in the end."""

import json
import shutil
import signal
import subprocess
import time

import psutil
from mlflow_server import check_runs
from processes import install_sigint, kill_family, words_of
from real_searches import command

from munchray.settings import load_job
from munchray.training.trial_results import read_epochs, read_result
from munchray.tuning.folder import trial_folder
from munchray.tuning.ranking import ranking

JOB = """
name: disturbed
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space: {order: {of: auxiliaries, length: 2}}
first_orders:  # no common prefix, so every stage is trained and none reused
- [sample-disease-2, sample-gene-1]
- [sample-gene-1, sample-species-1]
- [sample-species-1, sample-disease-2]
sampler: grid
trials: 3
concurrent_trials: 1
embeddings: [{train: {subwords: 8}}]
hidden_size: 16
batch_size: 5
learning_rate: 1.0
max_epochs: 30  # a stage, so that it lasts for several checkpoints on a fast machine too
max_sentences: {train: 40, dev: 40}
checkpoint_minutes: 0.01
"""


class Attempt:
    """How far a trial has come, read from its folder."""

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
    "before the first checkpoint": lambda attempt, stage: attempt.epochs >= 1 and not attempt.saved,
    "in a stage": lambda attempt, stage: 0 < attempt.saved < attempt.epochs < stage,
    "between stages": lambda attempt, stage: attempt.saved == stage and attempt.published,
}
"""By the epochs of a stage."""


class DisturbedSearch:
    """A search run by the real command and observed through its files.

    Args:
        cluster: that it runs on; with `disk`, it runs on a Ray of its own that sees its storage there.
        changes: to the job, as in ``--set``.
    """

    def __init__(self, folder, cluster, features, changes=(), disk=None):
        self.folder, self.cluster, self._changes, self.disk = folder, cluster, changes, disk
        self._job_file, self._log = folder / "disturbed.yaml", folder / "log.txt"
        self._job_file.write_text(JOB + f"storage: {folder / 'runs'}\nfeatures: {features}\n")
        self._storage = disk.seen if disk else folder / "runs"
        self.search = self._storage / "disturbed"
        self.job = load_job(self._job_file, [f"storage={self._storage}", *changes])

    @property
    def log(self):
        return self._log.read_text()

    def start(self):
        """The command; the same every time."""
        address = () if self.disk else ("--address=" + self.cluster.address,)
        before = self.disk.words if self.disk else self.cluster.head.enter
        with self._log.open("a") as log:
            self.driver = subprocess.Popen(
                [*before, *command(self._job_file, *self._changes, *address)],
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

    def attempt(self, number):
        return Attempt(trial_folder(self.search, number), self._storage / "stages")

    def trainer(self):
        """The process that trains."""
        (found,) = [each for each in self.cluster.processes() if words_of(each).startswith("ray::ImplicitFunc")]
        return found

    def wait_for(self, condition, seconds=200):
        end = time.monotonic() + seconds
        while not condition():
            assert self.driver.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def strike(self, number, moment, fault):
        """Let a fault strike a trial, and wait until the trial is further than it was.

        Returns:
            Whether the command had to be given again, how many epochs were lost of how many, and the seconds it took.
        """
        attempt, reached = self.attempt(number), MOMENTS[moment]
        self.wait_for(lambda: reached(attempt, self.job.max_epochs))
        began = time.monotonic()
        fault(self)
        trained, saved, ended = attempt.epochs, attempt.saved, self.driver.poll() is not None
        assert not attempt.finished
        if ended:
            began = time.monotonic()
            self.start()
        seen = [trained]
        self.wait_for(lambda: seen.append(attempt.epochs) or seen[-1] > trained or attempt.finished)
        assert min(seen) >= saved, "more was repeated than no checkpoint had"
        return ended, trained - min(seen), trained, time.monotonic() - began

    def check(self, expected):
        """Every trial is there once, with the result by its order that it has when undisturbed."""
        assert self.driver.wait(200) == 0, self.log
        ranked = ranking(self.job)
        assert sorted(trial.number for trial in ranked.trials) == list(range(self.job.trials))
        assert not ranked.failed
        for trial in ranked.trials:
            folder, undisturbed = trial_folder(self.search, trial.number), expected[trial.order]
            result = read_result(folder)
            assert result.weights_digest == undisturbed.weights_digest
            assert result.dev == undisturbed.dev
            assert result.updates == undisturbed.updates
            assert [stage.dev_f1 for stage in result.stages] == [stage.dev_f1 for stage in undisturbed.stages]
            assert trial.dev_f1 == undisturbed.dev_f1(self.job.main)
            assert [report.epoch for report in read_epochs(folder)] == list(range(1, 2 * self.job.max_epochs + 1))
        database = shutil.copy(self.search / "mlflow.db", self.folder)  # SQLite would not find it on another disk
        check_runs(f"sqlite:///{database}", self.search)
        stages = self._storage / "stages"
        assert not list(stages.glob("*.lease"))


def kill_trial(search):
    search.trainer().kill()


def stop_trial(search):
    search.trainer().send_signal(signal.SIGSTOP)


def kill_node(search):
    search.cluster.kill(search.cluster.node_of(search.trainer()))


def kill_driver(search):
    trainer = search.trainer()
    search.driver.kill()
    search.driver.wait()
    try:
        trainer.wait(2)  # Ray ends what a dead driver had started
    except psutil.TimeoutExpired:  # on a busy machine not before the trial might finish
        trainer.kill()
        trainer.wait(60)


def terminate_driver(search):
    search.driver.terminate()
    assert search.driver.wait(60) == 130


def kill_head(search):
    trainer = search.trainer()
    search.cluster.kill(0)
    search.driver.wait(120)
    trainer.wait(120)
    search.cluster.start_anew()


def fill_disk(search):
    """For longer than a trial would take to end."""
    search.disk.fill()
    time.sleep(5)
    search.disk.free()
