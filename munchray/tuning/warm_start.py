"""Results of earlier searches as observations for a sampler that learns (``warm_start``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem
from munchray.files import read_json
from munchray.samplers.base import Outcome
from munchray.settings import Job
from munchray.storage.address import FORM
from munchray.storage.path import StoragePath
from munchray.training.trial_results import read_result
from munchray.tuning.lock import sync_for_reading

MAY_DIFFER = {"seed", "sampler", "auxiliaries", "search_space", "corpora"}
"""Job keys in which an earlier search may differ, beside those free to change; corpora are compared separately."""


class PriorSearch:
    """An earlier search whose results warm-start a sampler.

    Args:
        name: of a search in the job's storage, or the folder of one elsewhere.

    Attributes:
        outcomes: its finished trials in the job's search space, orders of fewer auxiliaries included.

    Raises:
        InputError: it does not exist, differs in something that decides scores, or has no trial in the space.
    """

    def __init__(self, name: str, job: Job) -> None:
        self._job = job
        self._where = f"job {job.name}: warm_start {name}"
        storage = self._prior_storage(name)
        self.folder = storage.folder
        if self.folder.resolve() == (job.storage_path / job.name).folder.resolve():
            raise InputError(Problem(self._where, "a search cannot learn from itself", fix="Leave it out"))
        sync_for_reading(storage)
        try:
            self._record = read_json(self.folder / "job.json")
            self._launched: dict[str, Any] = self._record["job"]
            problems = list(self._differences())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            problems = [Problem(self._where, f"there is no search in {storage}", "a search that was started")]
        if problems:
            raise InputError(*problems)
        self.outcomes = self._outcomes()

    def check_corpora(self, fingerprints: Mapping[str, str]) -> None:
        """Check that the corpora of both searches have equal fingerprints.

        Raises:
            InputError: text, tags or embeddings differ, or the earlier search recorded no fingerprints.
        """
        before: dict[str, str] = self._record.get("corpora", {})
        if self._job.main not in before:
            found = "it was started by a version of munchray that recorded no fingerprints of its corpora"
            raise InputError(Problem(self._where, found, fix="Leave it out"))
        if differing := [name for name in fingerprints if before.get(name, fingerprints[name]) != fingerprints[name]]:
            found = f"text, tags or embeddings of {', '.join(differing)} differ, so scores are not comparable"
            raise InputError(Problem(self._where, found, fix="Leave it out"))

    def _prior_storage(self, name: str) -> StoragePath:
        try:
            return StoragePath.at(name) if "/" in name else self._job.storage_path / name
        except ValueError as error:
            raise InputError(Problem(self._where, str(error), f"a search of this storage, {FORM}")) from None

    def _outcomes(self) -> list[Outcome]:
        ended = sorted((self.folder / "trials").glob("*/result.json"))
        found = [outcome for path in ended if (outcome := self._outcome(path)) is not None]
        if not found:
            reason = f"none of its {len(ended)} finished trials lies in this search space"
            raise InputError(Problem(self._where, reason, fix="Leave it out"))
        return found

    def _differences(self) -> Iterator[Problem]:
        for key, before, now in self._job.changed_since(self._launched):
            if key.split(".")[0] not in MAY_DIFFER | self._varied:
                found = f"its {key} is {json.dumps(before)}, not {json.dumps(now)}, so scores are not comparable"
                yield Problem(self._where, found, fix="Leave it out")

    @property
    def _varied(self) -> set[str]:
        """Dimensions that either search varies."""
        return {*self._launched["search_space"], *self._job.search_space.dimensions()}

    def _outcome(self, path: Path) -> Outcome | None:
        settings, job = read_json(path.parent / "settings.json"), self._job
        order, axes = tuple(settings["auxiliaries"]), job.search_space.dimensions()
        fixed = self._varied - axes.keys() - {"order"}
        known = set(order) <= set(job.auxiliaries) and len(order) <= self._longest
        if not known or any(settings[name] != getattr(job, name) for name in fixed):
            return None
        if not all(axis.allows(settings[name]) for name, axis in axes.items()):
            return None
        setting = {**{name: settings[name] for name in axes}, "order": order}
        return _read(path, setting, job.main)

    @property
    def _longest(self) -> int:
        order = self._job.search_space.order
        return order.max_length or 0 if order else 0


def _read(path: Path, setting: dict[str, Any], main: str) -> Outcome:
    result, ended = read_result(path.parent), datetime.fromtimestamp(path.stat().st_mtime)
    stages = ((len(stage.auxiliaries), stage.dev_f1) for stage in result.stages)
    prefixes = tuple((length, score) for length, score in stages if length < len(setting["order"]))
    return Outcome(int(path.parent.name), setting, result.dev_f1(main), prefixes, ended)
