"""munchray: search how a named entity tagger should be trained when many corpora are at hand.

    import munchray as mr

    job = mr.load_job("jobs/quickstart.yaml", trials=6)
    result = mr.search(job)
    model = result.best_model()
    model.spans("Mutations cause cystic fibrosis.")

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from munchray.api import FinalizeResult as FinalizeResult
    from munchray.api import SearchResult as SearchResult
    from munchray.api import TrainResult as TrainResult
    from munchray.api import finalize as finalize
    from munchray.api import load_job as load_job
    from munchray.api import load_model as load_model
    from munchray.api import read_corpus as read_corpus
    from munchray.api import results as results
    from munchray.api import search as search
    from munchray.api import train as train
    from munchray.errors import InputError as InputError
    from munchray.errors import Interrupted as Interrupted
    from munchray.errors import WorkError as WorkError
    from munchray.models.model import Model as Model
    from munchray.progress import Progress as Progress
    from munchray.settings import Job as Job

__version__ = "0.1.0"

_MODULES = {
    "munchray.api": (
        *("load_job", "search", "train", "finalize", "results", "load_model", "read_corpus"),
        *("SearchResult", "TrainResult", "FinalizeResult"),
    ),
    "munchray.errors": ("InputError", "WorkError", "Interrupted"),
    "munchray.models.model": ("Model",),
    "munchray.progress": ("Progress",),
    "munchray.settings": ("Job",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'munchray' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
