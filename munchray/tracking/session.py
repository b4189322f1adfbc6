"""Provenance of each process that runs a search: versions, git state, machine."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import munchray

LIBRARIES = ("flair", "mlflow", "numpy", "optuna", "ray", "torch")
GIT_SECONDS = 10.0  # a slow disk must not hold a search up


def describe() -> dict[str, Any]:
    """Describe this process in JSON types. Environment variables are left out: they may hold secrets."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"munchray": munchray.__version__, "python": platform.python_version(), **versions},
        "system": platform.platform(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "git": {"munchray": _git_of_the_code(), "working folder": git_state(Path.cwd())},
    }


def as_tags(described: Mapping[str, Any]) -> dict[str, str]:
    """The description as MLflow tags; commit and user under the names that MLflow's pages read."""
    states = [state for state in described["git"].values() if state]
    commit = {"mlflow.source.git.commit": states[0]["commit"]} if states else {}
    return {
        "mlflow.source.name": "munchray search",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        **{f"version.{name}": version for name, version in described["versions"].items()},
        **commit,
        **({"git.changed_files": str(states[0]["changed_files"])} if states else {}),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and number of changed files of the checkout that a folder is in; None outside of one or without git."""
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    if commit is None or changes is None:
        return None
    return {"commit": commit.strip(), "changed_files": len(changes.splitlines())}


def _git_of_the_code() -> dict[str, Any] | None:
    """None when munchray was installed, even into an environment inside another checkout."""
    folder = Path(munchray.__file__).parent
    return git_state(folder) if _git(folder, "ls-files", "__init__.py") else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return str(os.getuid())
