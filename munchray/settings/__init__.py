"""Job and search-space files: ``load_job`` reads and validates both and returns a ``Job``."""

from munchray.settings.dimensions import Choices, OrderSpace, Range
from munchray.settings.job import Job, OwnCorpus, Resources, SentenceLimits
from munchray.settings.loading import load_job
from munchray.settings.space import SearchSpace
from munchray.settings.training import REGIMES, TrialSettings

__all__ = [
    "REGIMES",
    "Choices",
    "Job",
    "OrderSpace",
    "OwnCorpus",
    "Range",
    "Resources",
    "SearchSpace",
    "SentenceLimits",
    "TrialSettings",
    "load_job",
]
