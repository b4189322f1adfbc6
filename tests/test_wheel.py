"""The wheel, built from the source archive, in an environment and a folder with no repository in sight."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from sysconfig import get_path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "munchray", "jobs", "search_spaces"]
FAST = [
    *("trials=2", "max_epochs=1", "hidden_size=8", "max_sentences={train: 40, dev: 20}", "concurrent_trials=1"),
    "embeddings=[{train: {characters: forward, hidden_size: 8, epochs: 1}}]",
]

pytestmark = pytest.mark.slow


def run(*command, folder):
    """The output of a command that knows neither this repository nor the environment of the tests."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source archive, which is built from a copy: building leaves files beside the sources."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    program = f"from setuptools import build_meta; print(build_meta.build_sdist({str(built)!r}))"
    archive = built / run(sys.executable, "-c", program, folder=copy).splitlines()[-1]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={built}", archive, folder=built)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel; the libraries that it needs are those of the tests' environment."""
    environment = tmp_path_factory.mktemp("environment") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=ROOT.parent)
    python = environment / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=environment)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder="/").strip())
    # A plain line puts a folder on the path without what its own .pth files add, such as an editable munchray.
    (packages / "libraries.pth").write_text(get_path("purelib") + "\n")
    return environment / "bin"


def files_below(folder):
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}


def test_the_wheel_holds_every_file_of_the_package_and_the_jobs_and_search_spaces(wheel):
    data = files_below("jobs") | files_below("search_spaces")
    package = {name for name in files_below("munchray") if "__pycache__" not in name}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == package | {f"munchray/{name}" for name in data}
    assert "munchray/py.typed" in names


def test_init_and_search_work_in_an_empty_folder(installed, tmp_path):
    program = "import munchray; from munchray.settings.loading import packaged; print(munchray.__file__)"
    origins = run(installed / "python", "-c", f"{program}; print(packaged('search_spaces'))", folder=tmp_path)
    assert all(origin.startswith(str(installed.parent)) for origin in origins.splitlines())

    assert "wrote quickstart.yaml" in run(installed / "munchray", "init", "quickstart", folder=tmp_path)
    shutil.rmtree(tmp_path / "search_spaces")  # the packaged one is found as well
    overrides = [word for text in FAST for word in ("--set", text)]
    run(installed / "munchray", "search", "quickstart.yaml", *overrides, folder=tmp_path)
    results = sorted(path.parent.name for path in (tmp_path / "runs/quickstart/trials").glob("*/result.json"))
    assert results == ["0000", "0001"]
