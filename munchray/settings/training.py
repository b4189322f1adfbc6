"""``TrialSettings``: every setting that affects the result of a trial, with validation and a signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from munchray.files import digest
from munchray.settings.validation_errors import STRICT, Violation, expecting, raise_violations

Regime = Literal["single_task", "multi_task", "single_aux", "concatenation", "iteration", "stack"]
REGIMES: tuple[Regime, ...] = (
    "single_task",
    "multi_task",
    "single_aux",
    "concatenation",
    "iteration",
    "stack",
)

PositiveNumber = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False), expecting("a positive number")]
PositiveInt = Annotated[int, Strict(), Field(gt=0), expecting("a positive whole number")]
Dropout = Annotated[float, Strict(), Field(ge=0, lt=1), expecting("a number from 0 up to, but not including, 1")]
Share = Annotated[float, Strict(), Field(gt=0, lt=1), expecting("a number between 0 and 1")]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32), expecting("a whole number from 0 to 4294967295")]
Name = Annotated[str, Field(min_length=1), expecting("the name of a corpus")]


LOWEST_RATE = 1e-4  # training ends when the learning rate falls below it


class TrainingSettings(BaseModel):
    """Settings shared by jobs and trials; the defaults are the paper's (section 4.1; see docs/method.md)."""

    model_config = STRICT

    main: Name
    regime: Regime
    auxiliaries: tuple[Name, ...] = Field(default=(), validate_default=True)
    learning_rate: PositiveNumber = 0.1
    batch_size: PositiveInt = 32
    seed: Seed = 1
    hidden_size: PositiveInt = 256
    word_dropout: Dropout = 0.05
    locked_dropout: Dropout = 0.5
    tag_scheme: Literal["iobes", "iob2"] = "iobes"
    loss_reduction: Literal["mean", "sum"] = "mean"
    clip_norm: PositiveNumber = 5.0
    patience: PositiveInt = 4
    factor: Share = 0.5
    min_learning_rate: PositiveNumber = Field(default=LOWEST_RATE, validate_default=True)
    max_epochs: PositiveInt = 200
    anneal: Literal["plateau", "linear"] = "plateau"
    batching: Literal["random", "by_length"] = "random"
    precision: Literal["float32", "bfloat16"] = "float32"

    @field_validator("auxiliaries")
    @classmethod
    def _auxiliaries_fit(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        raise_violations(_auxiliary_violations(names, info.data.get("main"), info.data.get("regime")))
        return names

    @field_validator("min_learning_rate")
    @classmethod
    def _floor_is_low(cls, floor: float, info: ValidationInfo) -> float:
        rate = info.data.get("learning_rate")
        if rate is not None and floor >= rate:
            found = f"min_learning_rate is {floor}, not below learning_rate {rate}"
            key = "learning_rate" if floor == LOWEST_RATE else "min_learning_rate"
            raise_violations([Violation((key,), found, "a number below the learning rate")])
        return floor


class TrialSettings(TrainingSettings):
    """Everything that affects a trial's result, JSON-serializable.

    ``auxiliaries`` are in the order in which the regime uses them. ``trained_on``: ``train+dev`` is the paper's
    retraining before test is scored; every corpus that a search scores on dev then trains on both splits.
    """

    trained_on: Literal["train", "train+dev"] = "train"

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit ``trained_on`` at its default, so that signatures and stage keys do not depend on it."""
        values: dict[str, Any] = written(self)
        if values.get("trained_on") == "train":
            del values["trained_on"]
        return values

    @field_validator("auxiliaries")
    @classmethod
    def _single_aux_has_one(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("regime") == "single_aux" and len(names) > 1:
            raise_violations([Violation(("auxiliaries",), f"single_aux got {len(names)} auxiliaries", "exactly one")])
        return names

    def signature(self, data: str = "") -> str:
        """A hash of these settings and, if given, of the data's fingerprint: 16 hexadecimal digits."""
        settings = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return digest(settings, data)[:16]


def _auxiliary_violations(names: Sequence[str], main: str | None, regime: str | None) -> Iterator[Violation]:
    for index, name in enumerate(names):
        if name == main:
            yield Violation(
                ("auxiliaries", index),
                f"the main corpus {main} is among the auxiliaries",
                "other corpora only",
            )
        if name in names[:index]:
            yield Violation(("auxiliaries", index), f"the auxiliary {name} is listed twice", "each auxiliary once")
    if regime == "single_task" and names:
        fix = "Remove the auxiliaries or choose another regime"
        yield Violation(("auxiliaries",), "the regime single_task uses no auxiliaries", "none", fix)
    if regime not in (None, "single_task") and not names:
        yield Violation(("auxiliaries",), f"the regime {regime} has no auxiliaries", "at least one auxiliary")
