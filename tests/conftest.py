"""Shared fixtures, the order of test files, and a seeded sample of tests (`--sample`)."""

import datetime
import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from networks import network_if_allowed

SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--sample", type=int, metavar="N", help="run N of the selected tests")
    parser.addoption("--seed", default=datetime.date.today().isoformat(), help="which N; today's date by default")


def pytest_configure(config):
    # torch and Ray size their thread pools by this; the tests' own processes share two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def pytest_report_header(config):
    sample, seed = config.option.sample, config.option.seed
    return [] if sample is None else f"sample: --sample {sample} --seed {seed}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Files with slow tests first, so that a worker that has no more of them is left with quick ones."""
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.slow)
    yield
    if config.option.sample is not None:
        _sample(config, items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _sample(config, items):
    """Leave as many tests as asked for, the same ones for the same seed."""

    def rank(item):
        return hashlib.sha256(f"{config.option.seed} {item.path.name} {item.name}".encode()).digest()

    chosen = set(sorted(items, key=rank)[: config.option.sample])
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


def _folder(variable: str, beside: str) -> Path:
    folder = Path(os.environ.get(variable) or SHARED / beside)
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set {variable}")
    return folder.resolve()


@pytest.fixture(scope="session")
def real_data():
    """The folder of the eight corpora."""
    return _folder("MUNCHRAY_DATA", "data")


@pytest.fixture(scope="session")
def real_embeddings():
    """The folder of the small embeddings."""
    return _folder("MUNCHRAY_EMBEDDINGS", "embeddings")


@pytest.fixture(scope="session")
def network():
    """Hosts with addresses of their own for the nodes of clusters; None without the right to make them."""
    made = network_if_allowed()
    yield made
    if made:
        made.close()


@pytest.fixture(scope="session")
def shared_cluster(network):
    from clusters import Cluster

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        made = Cluster(folder, network=network)
        yield made
        made.close()


@pytest.fixture
def cluster(shared_cluster):
    """A head without CPUs and two workers of one CPU; workers that a test killed have been replaced."""
    while shared_cluster.workers < 2:
        shared_cluster.add(cpus=1)
    return shared_cluster


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """One feature store for all searches of generated sentences."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model that finds diseases of a sample corpus, exported; made once for all tests that need one."""
    from small_model import train_and_export

    return train_and_export(tmp_path_factory.mktemp("small_model"))
