"""Fixtures shared by the tests: where the real corpora and embeddings lie, if they do."""

import os
from pathlib import Path

import pytest
from networks import network_if_allowed

SHARED = Path(__file__).parents[2] / "shared"


def pytest_configure(config):
    # torch and Ray size their thread pools by this; the tests' own processes share two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


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
    """Hosts with addresses of their own for the nodes of clusters; None where nobody may make them."""
    made = network_if_allowed()
    yield made
    if made:
        made.close()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model that finds diseases of a sample corpus, exported; made once for all tests that need one."""
    from small_model import train_and_export

    return train_and_export(tmp_path_factory.mktemp("small_model"))
