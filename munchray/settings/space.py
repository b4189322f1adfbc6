"""The search-space file: what a search may vary, read and checked."""

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
from munchray.settings.validation_errors import STRICT, Mistake, RuleError, raise_any, shown
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
    """The search-space file. What it does not name stays as the job says."""

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

    def dimensions(self) -> dict[str, Choices | Range]:
        """What varies besides the order."""
        return {name: getattr(self, name) for name in VALUES if getattr(self, name) is not None}


def read_dimension(name: str, raw: Any) -> Choices | Range:
    """Choices from a list or a single value, a range from ``{low, high, log, step}``.

    Raises:
        RuleError: everything that is wrong.
    """
    if isinstance(raw, Mapping):
        return _read_range(name, raw)
    values = raw if isinstance(raw, list | tuple) else [raw]
    places: list[KeyPath] = [(name, position) for position in range(len(values))] if values is raw else [(name,)]
    mistakes = [m for keys, value in zip(places, values, strict=True) for m in _value_mistakes(keys, value)]
    if not values:
        mistakes.append(Mistake((name,), f"{name} has no choices", "at least one value"))
    for position, value in enumerate(values):
        if value in values[:position]:
            mistakes.append(Mistake(places[position], f"{name} lists {shown(value)} twice", "each choice once"))
    raise_any(mistakes)
    return Choices(tuple(values))


def _read_range(name: str, raw: Mapping[str, Any]) -> Range:
    mistakes = list(_key_mistakes((name,), raw, ("low", "high", "log", "step"), required=("low", "high")))
    for end in ("low", "high"):
        if end in raw:
            mistakes += _value_mistakes((name, end), raw[end])
    mistakes += _step_mistakes(name, raw)
    if not isinstance(raw.get("log", False), bool):
        mistakes.append(Mistake((name, "log"), f"{name}.log is {shown(raw['log'])}", "true or false"))
    raise_any(mistakes)
    read = Range(raw["low"], raw["high"], raw.get("log", False), raw.get("step"), integer=name in INTEGERS)
    raise_any(_range_mistakes(name, read))
    return read


def _value_mistakes(keys: KeyPath, value: Any) -> Iterator[Mistake]:
    try:
        VALUES[str(keys[0])].validate_python(value)
    except ValidationError as error:
        expected = error.errors()[0].get("ctx", {})["error"]
        yield Mistake(keys, f"{_dotted(keys)} is {shown(value)}", str(expected))


def _step_mistakes(name: str, raw: Mapping[str, Any]) -> Iterator[Mistake]:
    step = raw.get("step")
    if step is None:
        return
    kind = PositiveInt if name in INTEGERS else PositiveNumber
    try:
        TypeAdapter(kind).validate_python(step)
    except ValidationError as error:
        expected = error.errors()[0].get("ctx", {})["error"]
        yield Mistake((name, "step"), f"{name}.step is {shown(step)}", str(expected))
    if raw.get("log") is True:
        yield Mistake((name, "step"), f"{name} has both log: true and a step", "one of them")


def _range_mistakes(name: str, read: Range) -> Iterator[Mistake]:
    if read.low >= read.high:
        yield Mistake((name, "low"), f"{name} goes from {read.low} to {read.high}", "low below high")
    elif read.step is not None and read.step > read.high - read.low:
        yield Mistake((name, "step"), f"{name}.step {read.step} is wider than the range", "a smaller step")
    if read.log and read.low <= 0:
        yield Mistake((name, "low"), f"{name}.low is {read.low} with log: true", "low above 0")


def read_order(raw: Any) -> OrderSpace:
    """An ``OrderSpace`` from ``{of: auxiliaries, adjacent: different_type | any, length: int | {min, max}}``.

    Raises:
        RuleError: everything that is wrong.
    """
    if not isinstance(raw, Mapping):
        expected = "a mapping such as {of: auxiliaries, adjacent: different_type}"
        raise RuleError([Mistake(("order",), f"order is {shown(raw)}", expected)])
    allowed = {"of": ("auxiliaries",), "adjacent": ("different_type", "any")}
    mistakes = list(_key_mistakes(("order",), raw, (*allowed, "length")))
    for key, words in allowed.items():
        if key in raw and raw[key] not in words:
            mistakes.append(Mistake(("order", key), f"order.{key} is {shown(raw[key])}", " or ".join(words)))
    length = raw.get("length", {})
    mistakes += _length_mistakes(length)
    raise_any(mistakes)
    least, most = (length.get("min"), length.get("max")) if isinstance(length, Mapping) else (length, length)
    if least is None and most is not None:
        least = 1
    return OrderSpace(raw.get("adjacent") == "different_type", least, most)


def _length_mistakes(length: Any) -> Iterator[Mistake]:
    keys: KeyPath = ("order", "length")
    if not isinstance(length, Mapping):
        if not _is_count(length):
            yield Mistake(keys, f"order.length is {shown(length)}", "a positive whole number or {min, max}")
        return
    yield from _key_mistakes(keys, length, ("min", "max"))
    wrong = [end for end in ("min", "max") if end in length and not _is_count(length[end])]
    for end in wrong:
        yield Mistake((*keys, end), f"order.length.{end} is {shown(length[end])}", "a positive whole number")
    if not wrong and length.get("min", 1) > length.get("max", float("inf")):
        found = f"order.length goes from {length['min']} to {length['max']}"
        yield Mistake((*keys, "min"), found, "min not above max")


def _key_mistakes(
    keys: KeyPath, raw: Mapping[str, Any], valid: tuple[str, ...], required: tuple[str, ...] = ()
) -> Iterator[Mistake]:
    for key in raw:
        if key not in valid:
            yield Mistake((*keys, key), f"unknown key '{_dotted((*keys, key))}'", fix=nearest(str(key), valid))
    for key in required:
        if key not in raw:
            yield Mistake(keys, f"{_dotted((*keys, key))} is missing")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _dotted(keys: KeyPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
