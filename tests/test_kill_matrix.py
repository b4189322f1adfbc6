"""The kill matrix: every fault at three moments of a trial, and what a search loses by it.

A search of three trials a fault: the first is hit before its first checkpoint, the second in the middle of a stage, the
third between two stages. With -s the rows of the table in docs/cluster.md are printed.
"""

import tempfile
import threading

import disturbed
import pytest
from clusters import Cluster
from disturbed import MOMENTS, DisturbedSearch
from processes import SmallDisk
from real_searches import train_here

from munchray.settings import load_job

pytestmark = [pytest.mark.faults, pytest.mark.kills]

FULL, NODE = "storage full for five seconds", "worker node killed"


def replace_node(search):
    disturbed.kill_node(search)
    # Another machine comes while the trial goes on elsewhere.
    threading.Thread(target=search.cluster.add, args=[2]).start()


FAULTS = {  # and changes to the job
    "trial process killed": (disturbed.kill_trial, ()),
    "trial process stopped": (disturbed.stop_trial, ["hung_minutes=0.2"]),
    "driver killed": (disturbed.kill_driver, ()),
    "SIGTERM to the driver": (disturbed.terminate_driver, ()),
    FULL: (disturbed.fill_disk, ()),
    "head killed and started again": (disturbed.kill_head, ()),
    NODE: (replace_node, ["resources_per_trial.cpu=1.5"]),  # which the head has not
}
# The last one leaves nodes behind, and a trial that trains there may end before it knows that its head was killed.


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        made = Cluster(folder, cpus=1)
        yield made
        made.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, features):
    """What each order gives in one process that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "job.yaml").write_text(disturbed.JOB + f"storage: {folder}\nfeatures: {features}\n")
    job = load_job(folder / "job.yaml")
    return train_here(job, job.first_orders, folder)


@pytest.fixture
def search(fault, cluster, features, tmp_path):
    if fault == NODE:
        cluster.add(cpus=2)
        cluster.add(cpus=2)
    disk = SmallDisk(tmp_path / "runs", "40m") if fault == FULL else None
    made = DisturbedSearch(tmp_path, cluster, features, FAULTS[fault][1], disk)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_only_the_epochs_after_the_last_checkpoint(fault, search, undisturbed):
    for number, moment in enumerate(MOMENTS):
        again, lost, trained, seconds = search.strike(number, moment, FAULTS[fault][0])
        outcome = "resumed by the same command" if again else "went on by itself"
        print(f"| {fault} | {moment} | {outcome} | {lost} of {trained} | {seconds:.0f} |")
    search.check(undisturbed)
