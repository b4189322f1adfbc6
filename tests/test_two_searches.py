"""Two searches of one storage: real commands, one of them killed in the middle of a stage."""

import contextlib
import json

import psutil
import pytest
from processes import kill_family
from real_searches import start, wait_for

from munchray.storage.lease import LeaseOwner

pytestmark = pytest.mark.faults

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space: {order: {of: auxiliaries}}
embeddings: [{train: {subwords: 8}}]
trials: 6
concurrent_trials: 1
hidden_size: 8
batch_size: 4
max_epochs: 3
max_sentences: {train: 100, dev: 20}
"""


@pytest.fixture
def jobs(tmp_path):
    """Two jobs that want the same orders, each in a sequence of its own."""
    paths = [tmp_path / sampler / f"{sampler}.yaml" for sampler in ("grid", "random")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(JOB + f"sampler: {path.stem}\nstorage: {tmp_path / 'runs'}\n")
    return paths


def results(job_file):
    """The results of its finished trials."""
    trials = (job_file.parents[1] / "runs" / job_file.stem / "trials").glob("*/result.json")
    return [json.loads(path.read_text()) for path in trials]


def leases_of(process, stages):
    """The stages that a process, or one that it started, is training."""
    family = {process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))}
    return {path.name for path in stages.glob("*.lease") if owner_of(path) in family}


def owner_of(lease):
    with contextlib.suppress(OSError):  # released meanwhile
        owner = LeaseOwner.parse(lease.read_text())
        return owner and owner.pid


def test_each_stage_is_trained_once_though_a_search_is_killed(jobs, tmp_path):
    stages = tmp_path / "runs" / "stages"
    first, second = (start(job) for job in jobs)
    wait_for(lambda: results(jobs[0]) and results(jobs[1]), second)  # both have trained, side by side
    begun = leases_of(first, stages)
    wait_for(lambda: leases_of(first, stages) - begun, first)
    kill_family(first)
    assert second.wait(timeout=300) == 0, (jobs[1].parent / "log.txt").read_text()
    assert len(results(jobs[1])) == 6
    assert len(results(jobs[0])) < 6
    again = start(jobs[0])
    assert again.wait(timeout=300) == 0, (jobs[0].parent / "log.txt").read_text()

    trials = [*results(jobs[0]), *results(jobs[1])]
    assert len(trials) == 12
    trained = [tuple(s["auxiliaries"]) for trial in trials for s in trial["stages"] if not s["reused"]]
    assert len(trained) == len(set(trained)) == 3 + 6 + 6
    by_order = {}
    for trial in trials:
        by_order.setdefault(tuple(trial["stages"][-1]["auxiliaries"]), []).append(trial["weights_digest"])
    assert [len(set(digests)) for digests in by_order.values()] == [1] * 6
    assert not list(stages.glob("*.lease"))
