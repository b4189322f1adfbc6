"""What is wrong with a value, in a researcher's words: from pydantic's errors to ``Problem``s."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic_core import ErrorDetails

from munchray.errors import InputError, Problem, nearest
from munchray.settings.yaml_source import Document, KeyPath

Model = TypeVar("Model", bound=BaseModel)

STRICT = ConfigDict(frozen=True, extra="forbid")

EXPECTED = {
    "missing": "a value",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
}


@dataclass(frozen=True)
class Mistake:
    """One broken rule.

    Args:
        keys: the way to the value, counted from the model that owns the field in which the rule was checked.
        found, expected, fix: as in ``Problem``.
    """

    keys: KeyPath
    found: str
    expected: str = ""
    fix: str = ""


class RuleError(ValueError):
    """Raised by a field's validator with every rule that the field breaks."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{m.found}; expected {m.expected}" for m in self.mistakes))


class UnexpectedValueError(ValueError):
    """A value is not what its field expects; the message says what that is."""


def expecting(what: str) -> WrapValidator:
    """Whatever is wrong with the value, say only ``expected {what}``."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise UnexpectedValueError(what) from None

    return WrapValidator(check)


def raise_any(mistakes: Iterable[Mistake]) -> None:
    """Raise ``RuleError`` if there are any."""
    if found := tuple(mistakes):
        raise RuleError(found)


def validated(model: type[Model], document: Document, known_problems: Iterable[Problem] = ()) -> Model:
    """The document's values as ``model``.

    Raises:
        InputError: with ``known_problems`` and everything that is wrong with the values.
    """
    problems = list(known_problems)
    try:
        checked = model.model_validate(document.values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problems.extend(_problems(details, model, document))
        raise InputError(*_in_order(problems)) from None
    if problems:
        raise InputError(*_in_order(problems))
    return checked


def shown(value: Any) -> str:
    """The value as one would write it in the file, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _problems(details: ErrorDetails, model: type[BaseModel], document: Document) -> Iterator[Problem]:
    keys: KeyPath = tuple(key for key in details["loc"] if key != "[key]")  # pydantic's mark of a mapping's key
    error = details.get("ctx", {}).get("error")
    if isinstance(error, RuleError):
        for mistake in error.mistakes:
            where = document.where(keys[:-1] + mistake.keys)
            yield Problem(where, mistake.found, mistake.expected, mistake.fix)
    else:
        yield Problem(document.where(keys), *_in_words(details, keys, model, document))


def _in_words(details: ErrorDetails, keys: KeyPath, model: type[BaseModel], document: Document) -> tuple[str, str, str]:
    """What was found, what was expected, what to do."""
    name, kind, context = document.name_of(keys), details["type"], details.get("ctx", {})
    found = f"{name} is {shown(details['input'])}"
    if kind == "extra_forbidden":
        return f"unknown key '{name}'", "", nearest(str(keys[-1]), _fields(model, keys[:-1]))
    if kind == "missing":
        return f"{name} is missing", "", ""
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", context["expected"])
        value = details["input"]
        fix = nearest(value, choices) if isinstance(value, str) else ""
        return found, "one of " + ", ".join(choices), fix
    if kind == "value_error":
        return found, str(context["error"]), ""
    return found, EXPECTED.get(kind, details["msg"]), ""


def _fields(model: type[BaseModel], keys: KeyPath) -> Mapping[str, Any]:
    """The keys that the model at the end of the way knows."""
    for key in keys:
        field = model.model_fields.get(str(key))
        inner = [t for t in _types(field.annotation if field else None) if issubclass(t, BaseModel)]
        model = inner[0] if inner else model
    return model.model_fields


def _types(annotation: Any) -> Iterator[type]:
    """All classes mentioned in an annotation, such as ``Resources`` in ``dict[str, Resources] | None``."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _types(part)


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, line by line."""

    def location(problem: Problem) -> tuple[str, int]:
        file, _, line = problem.where.rpartition(":")
        return (file, int(line)) if line.isdecimal() else (problem.where, 0)

    return sorted(dict.fromkeys(problems), key=location)
