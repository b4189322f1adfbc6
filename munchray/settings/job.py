"""The job model: the complete, validated description of a search, and the settings of its trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Strict, ValidationInfo, field_validator

from munchray.corpora.catalogue import known_corpora
from munchray.orders import OrderRule
from munchray.settings.first_orders import Entry, entry_violations, read_entries
from munchray.settings.rules import (
    corpus_violations,
    embedding_violations,
    number_violations,
    order_violations,
    resolved_order,
)
from munchray.settings.space import SearchSpace
from munchray.settings.training import PositiveInt, PositiveNumber, TrainingSettings, TrialSettings
from munchray.settings.validation_errors import STRICT, RuleError, Violation, expecting, raise_violations, shown
from munchray.settings.yaml_source import KeyPath
from munchray.storage.address import FORM, KEYS
from munchray.storage.path import StoragePath

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
SafeName = Annotated[
    str,
    Field(pattern=SAFE_NAME),
    expecting("letters, digits, '.', '_' and '-', at most 100, no space or '/'"),
]
NonNegativeNumber = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False), expecting("a number, 0 or more")]
Column = Annotated[int, Strict(), expecting("a whole number (-1 is the last column)")]
Text = Annotated[str, Field(min_length=1), expecting("text that is not empty")]

# Keys that may change when a search is resumed: none of them affects a trial's result or what was tried.
FREE_TO_CHANGE = {
    "name",
    "trials",
    "concurrent_trials",
    "resources_per_trial",
    "device",
    "storage",
    "tracking_uri",
    "data_dir",
    "features",
    "stages_gb",
    "hung_minutes",
    "checkpoint_minutes",
    "first_orders",
    "warm_start",
}


class Resources(BaseModel):
    """Resources that one trial occupies; fractions share a GPU or a core."""

    model_config = STRICT
    cpu: PositiveNumber = 1.0
    gpu: NonNegativeNumber = 0.0


class OwnCorpus(BaseModel):
    """A user-defined corpus: a folder with train, dev and test files of token and tag columns."""

    model_config = STRICT
    folder: Text
    entity_type: Text
    token_column: Column = 0
    tag_column: Column = -1
    scheme: Literal["auto", "iob1", "iob2", "iobes"] = "auto"


class SentenceLimits(BaseModel):
    """Use only the first sentences of each split, of every corpus; None uses all."""

    model_config = STRICT
    train: PositiveInt | None = None
    dev: PositiveInt | None = None


class Job(TrainingSettings):
    """A search as described by a job file and a search-space file.

    ``auxiliaries`` are the candidates; without ``order`` in the search space they are used as listed.
    """

    corpora: dict[SafeName, OwnCorpus] = Field(default={}, validate_default=True)
    sampler: Literal["order_gp", "tpe", "random", "grid", "sorted"] = "tpe"
    search_space: SearchSpace = SearchSpace()
    first_orders: tuple[Entry, ...] = ()
    warm_start: tuple[Text, ...] = ()
    embeddings: tuple[Any, ...]
    name: SafeName
    trials: PositiveInt = 20
    concurrent_trials: PositiveInt | None = None
    resources_per_trial: Resources = Resources()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_sentences: SentenceLimits = SentenceLimits()
    storage: Text = "runs"
    tracking_uri: Text | None = None
    data_dir: Text | None = None
    features: Text | None = None
    stages_gb: NonNegativeNumber = 50.0
    hung_minutes: PositiveNumber = 30.0
    checkpoint_minutes: PositiveNumber = 3.0

    @field_validator("corpora")
    @classmethod
    def _corpora_are_known(cls, own: dict[str, OwnCorpus], info: ValidationInfo) -> dict[str, OwnCorpus]:
        auxiliaries = info.data.get("auxiliaries", ())
        named: dict[KeyPath, str] = {("auxiliaries", index): name for index, name in enumerate(auxiliaries)}
        if "main" in info.data:
            named[("main",)] = info.data["main"]
        raise_violations(corpus_violations(named, own, known_corpora()))
        return own

    @field_validator("search_space", mode="before")
    @classmethod
    def _space_is_given(cls, raw: Any) -> Any:
        if raw == {}:
            expected = "at least one of " + ", ".join(SearchSpace.model_fields)
            raise RuleError([Violation(("search_space",), "search space empty", expected)])
        if not isinstance(raw, Mapping | SearchSpace):
            expected = "the name or path of a search-space file, or a mapping"
            raise RuleError([Violation(("search_space",), f"search_space is {shown(raw)}", expected)])
        return raw

    @field_validator("search_space")
    @classmethod
    def _space_fits(cls, space: SearchSpace, info: ValidationInfo) -> SearchSpace:
        job = info.data
        violations = list(number_violations(space, job.get("min_learning_rate"), job.get("sampler")))
        order = space.order
        if order is not None and {"regime", "auxiliaries", "corpora"} <= job.keys():
            order = resolved_order(order, job["regime"], len(job["auxiliaries"]))
            types = _entity_types(job["corpora"])
            violations += order_violations(order, job["regime"], job["auxiliaries"], types)
        raise_violations(violations)
        return space.model_copy(update={"order": order})

    @field_validator("first_orders", mode="before")
    @classmethod
    def _first_orders_are_entries(cls, raw: Any) -> tuple[Entry, ...]:
        return read_entries(raw)

    @field_validator("first_orders")
    @classmethod
    def _first_orders_fit(cls, entries: tuple[Entry, ...], info: ValidationInfo) -> tuple[Entry, ...]:
        job = info.data
        if {"search_space", "auxiliaries", "corpora"} <= job.keys():
            types = _entity_types(job["corpora"])
            raise_violations(entry_violations(entries, job["search_space"], job["auxiliaries"], types))
        return entries

    @field_validator("warm_start")
    @classmethod
    def _warm_start_has_a_learner(cls, searches: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        sampler = info.data.get("sampler")
        if searches and sampler not in (None, "order_gp"):
            found = f"warm_start, but the sampler {sampler} learns only from its own trials"
            raise_violations([Violation(("warm_start",), found, fix="Set sampler: order_gp, or leave warm_start out")])
        return searches

    @field_validator("embeddings")
    @classmethod
    def _embeddings_are_entries(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        raise_violations(embedding_violations(entries))
        return entries

    @field_validator("resources_per_trial")
    @classmethod
    def _many_gpus_are_whole(cls, resources: Resources) -> Resources:
        if resources.gpu > 1 and resources.gpu != int(resources.gpu):
            keys = ("resources_per_trial", "gpu")
            found = f"resources_per_trial.gpu is {resources.gpu}"
            raise RuleError([Violation(keys, found, "a fraction of one GPU or a whole number of them")])
        return resources

    @field_validator("storage", "features")
    @classmethod
    def _storage_has_an_address(cls, where: str | None, info: ValidationInfo) -> str | None:
        key = str(info.field_name)
        try:
            return where and str(StoragePath.at(where))
        except ValueError as error:
            fix = f"Leave keys to the environment: {' and '.join(KEYS)}"
            raise RuleError([Violation((key,), f"{key} {error}", FORM, fix)]) from None

    @field_validator("device")
    @classmethod
    def _cuda_has_a_gpu(cls, device: str, info: ValidationInfo) -> str:
        resources = info.data.get("resources_per_trial")
        if device == "cuda" and resources is not None and not resources.gpu:
            fix = "Set resources_per_trial: {gpu: 1}, or a fraction for several trials on a GPU"
            raise RuleError([Violation(("device",), "device is cuda, but a trial gets no GPU", fix=fix)])
        return device

    @field_validator("max_sentences", mode="before")
    @classmethod
    def _one_number_limits_train(cls, raw: Any) -> Any:
        return raw if isinstance(raw, Mapping | SentenceLimits) else {"train": raw}

    @property
    def storage_path(self) -> StoragePath:
        """The root of all searches."""
        return StoragePath.at(self.storage)

    @property
    def feature_storage(self) -> StoragePath:
        """The root of the feature store."""
        return StoragePath.at(self.features) if self.features else self.storage_path / "features"

    @property
    def stage_storage(self) -> StoragePath:
        """The root of the stage cache."""
        return self.storage_path / "stages"

    def entity_types(self) -> dict[str, str]:
        """The entity type of main and of every auxiliary."""
        types = _entity_types(self.corpora)
        return {name: types[name] for name in (self.main, *self.auxiliaries)}

    def order_rule(self) -> OrderRule:
        """The constraint on orders that the search space sets."""
        order = self.search_space.order
        return OrderRule(self.entity_types(), adjacent_differ=order is not None and order.adjacent_differ)

    def trial(self, values: Mapping[str, Any]) -> TrialSettings:
        """Trial settings for suggested values, such as ``{"learning_rate": 0.05, "order": ("a", "b")}``.

        Raises:
            pydantic.ValidationError: a key that is not a setting, or a value that breaks a rule.
        """
        settings = {name: getattr(self, name) for name in TrainingSettings.model_fields}
        settings["auxiliaries"] = self.auxiliaries[:1] if self.regime == "single_aux" else self.auxiliaries
        renamed = {"auxiliaries" if name == "order" else name: value for name, value in values.items()}
        return TrialSettings(**{**settings, **renamed})

    def first_trial(self) -> TrialSettings:
        """The settings that ``munchray train`` runs: the job's own values, the auxiliaries as listed."""
        return self.trial({})

    def identity(self) -> dict[str, Any]:
        """Everything that must stay equal when a search is resumed, JSON-serializable."""
        return self.model_dump(mode="json", exclude=FREE_TO_CHANGE)

    def changed_since(self, old: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """Differences from the identity (or the whole JSON) of an earlier job: (key, old value, new value)."""
        before = dict(_flat({key: value for key, value in old.items() if key not in FREE_TO_CHANGE}))
        after = dict(_flat(self.identity()))
        keys = [*after, *(key for key in before if key not in after)]
        return [(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)]


def _entity_types(own: Mapping[str, OwnCorpus]) -> dict[str, str]:
    return {**known_corpora(), **{name: corpus.entity_type for name, corpus in own.items()}}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested mappings to dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
