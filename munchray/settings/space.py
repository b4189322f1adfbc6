"""The search-space file: the settings that a search varies; parsing and validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import (
    BaseModel,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from munchray.errors import nearest
from munchray.settings.dimensions import Choices, OrderSpace, Range
from munchray.settings.training import Dropout, PositiveInt, PositiveNumber
from munchray.settings.validation_errors import STRICT, RuleError, Violation, raise_violations, shown
from munchray.settings.yaml_source import KeyPath

VALUES: Mapping[str, TypeAdapter[Any]] = {
    "learning_rate": TypeAdapter(PositiveNumber),
    "batch_size": TypeAdapter(PositiveInt),
    "hidden_size": TypeAdapter(PositiveInt),
    "word_dropout": TypeAdapter(Dropout),
    "locked_dropout": TypeAdapter(Dropout),
}
INTEGERS = {"batch_size", "hidden_size"}


class SearchSpace(BaseModel):
    """The search-space file. Settings that it does not name keep the job's value."""

    model_config = STRICT

    learning_rate: Choices | Range | None = None
    batch_size: Choices | Range | None = None
    hidden_size: Choices | Range | None = None
    word_dropout: Choices | Range | None = None
    locked_dropout: Choices | Range | None = None
    order: OrderSpace | None = None

    @field_validator(*VALUES, mode="plain")
    @classmethod
    def _read_dimension(cls, raw: Any, info: ValidationInfo) -> Choices | Range:
        return raw if isinstance(raw, Choices | Range) else read_dimension(str(info.field_name), raw)

    @field_validator("order", mode="plain")
    @classmethod
    def _read_order(cls, raw: Any) -> OrderSpace:
        return raw if isinstance(raw, OrderSpace) else read_order(raw)

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in SearchSpace.model_fields}
        return {name: value.as_written() for name, value in given.items() if value is not None}

    @property
    def is_empty(self) -> bool:
        """Whether nothing varies."""
        return self.order is None and not self.dimensions()

    def dimensions(self) -> dict[str, Choices | Range]:
        """The dimensions besides the order."""
        return {name: getattr(self, name) for name in VALUES if getattr(self, name) is not None}


def read_dimension(name: str, raw: Any) -> Choices | Range:
    """Parse choices (a list or a single value) or a range from ``{low, high, log, step}``.

    Raises:
        RuleError: all violations.
    """
    if isinstance(raw, Mapping):
        return _read_range(name, raw)
    values = raw if isinstance(raw, list | tuple) else [raw]
    key_paths: list[KeyPath] = [(name, index) for index in range(len(values))] if values is raw else [(name,)]
    violations = [v for keys, value in zip(key_paths, values, strict=True) for v in _value_violations(keys, value)]
    if not values:
        violations.append(Violation((name,), f"{name} has no choices", "at least one value"))
    for index, value in enumerate(values):
        if value in values[:index]:
            violations.append(Violation(key_paths[index], f"{name} lists {shown(value)} twice", "each choice once"))
    raise_violations(violations)
    return Choices(tuple(values))


def _read_range(name: str, raw: Mapping[str, Any]) -> Range:
    violations = list(_key_violations((name,), raw, ("low", "high", "log", "step"), required=("low", "high")))
    for end in ("low", "high"):
        if end in raw:
            violations += _value_violations((name, end), raw[end])
    violations += _step_violations(name, raw)
    if not isinstance(raw.get("log", False), bool):
        violations.append(Violation((name, "log"), f"{name}.log is {shown(raw['log'])}", "true or false"))
    raise_violations(violations)
    read = Range(raw["low"], raw["high"], raw.get("log", False), raw.get("step"), integer=name in INTEGERS)
    raise_violations(_range_violations(name, read))
    return read


def _value_violations(keys: KeyPath, value: Any) -> Iterator[Violation]:
    try:
        VALUES[str(keys[0])].validate_python(value)
    except ValidationError as error:
        expected = error.errors()[0].get("ctx", {})["error"]
        yield Violation(keys, f"{_dotted(keys)} is {shown(value)}", str(expected))


def _step_violations(name: str, raw: Mapping[str, Any]) -> Iterator[Violation]:
    step = raw.get("step")
    if step is None:
        return
    kind = PositiveInt if name in INTEGERS else PositiveNumber
    try:
        TypeAdapter(kind).validate_python(step)
    except ValidationError as error:
        expected = error.errors()[0].get("ctx", {})["error"]
        yield Violation((name, "step"), f"{name}.step is {shown(step)}", str(expected))
    if raw.get("log") is True:
        yield Violation((name, "step"), f"{name} has both log: true and a step", "one of them")


def _range_violations(name: str, read: Range) -> Iterator[Violation]:
    if read.low >= read.high:
        yield Violation((name, "low"), f"{name} goes from {read.low} to {read.high}", "low below high")
    elif read.step is not None and read.step > read.high - read.low:
        yield Violation((name, "step"), f"{name}.step {read.step} is wider than the range", "a smaller step")
    if read.log and read.low <= 0:
        yield Violation((name, "low"), f"{name}.low is {read.low} with log: true", "low above 0")


def read_order(raw: Any) -> OrderSpace:
    """Parse ``{of: auxiliaries, adjacent: different_type | any, length: int | {min, max}}`` to an ``OrderSpace``.

    Raises:
        RuleError: all violations.
    """
    if not isinstance(raw, Mapping):
        expected = "a mapping such as {of: auxiliaries, adjacent: different_type}"
        raise RuleError([Violation(("order",), f"order is {shown(raw)}", expected)])
    allowed = {"of": ("auxiliaries",), "adjacent": ("different_type", "any")}
    violations = list(_key_violations(("order",), raw, (*allowed, "length")))
    for key, words in allowed.items():
        if key in raw and raw[key] not in words:
            violations.append(Violation(("order", key), f"order.{key} is {shown(raw[key])}", " or ".join(words)))
    length = raw.get("length", {})
    violations += _length_violations(length)
    raise_violations(violations)
    least, most = (length.get("min"), length.get("max")) if isinstance(length, Mapping) else (length, length)
    if least is None and most is not None:
        least = 1
    return OrderSpace(raw.get("adjacent") == "different_type", least, most)


def _length_violations(length: Any) -> Iterator[Violation]:
    keys: KeyPath = ("order", "length")
    if not isinstance(length, Mapping):
        if not _is_count(length):
            yield Violation(keys, f"order.length is {shown(length)}", "a positive whole number or {min, max}")
        return
    yield from _key_violations(keys, length, ("min", "max"))
    wrong = [end for end in ("min", "max") if end in length and not _is_count(length[end])]
    for end in wrong:
        yield Violation((*keys, end), f"order.length.{end} is {shown(length[end])}", "a positive whole number")
    if not wrong and length.get("min", 1) > length.get("max", float("inf")):
        found = f"order.length goes from {length['min']} to {length['max']}"
        yield Violation((*keys, "min"), found, "min not above max")


def _key_violations(
    keys: KeyPath, raw: Mapping[str, Any], valid: tuple[str, ...], required: tuple[str, ...] = ()
) -> Iterator[Violation]:
    for key in raw:
        if key not in valid:
            yield Violation((*keys, key), f"unknown key '{_dotted((*keys, key))}'", fix=nearest(str(key), valid))
    for key in required:
        if key not in raw:
            yield Violation(keys, f"{_dotted((*keys, key))} is missing")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _dotted(keys: KeyPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
