"""Validation errors: translate pydantic's errors and our own rule violations to readable ``Problem``s."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic_core import ErrorDetails

from munchray.errors import InputError, Problem, nearest
from munchray.settings.yaml_source import KeyPath, YamlDocument

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
class Violation:
    """One broken rule.

    Args:
        keys: key path of the value, relative to the model that owns the validated field.
        found, expected, fix: as in ``Problem``.
    """

    keys: KeyPath
    found: str
    expected: str = ""
    fix: str = ""


class RuleError(ValueError):
    """Raised by a field's validator with all violations of the field."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.found}; expected {v.expected}" for v in self.violations))


class UnexpectedValueError(ValueError):
    """Raised for a value of the wrong kind; the message is the expected kind."""


def expecting(what: str) -> WrapValidator:
    """A pydantic validator that replaces any validation error by ``expected {what}``."""

    def check(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise UnexpectedValueError(what) from None

    return WrapValidator(check)


def raise_violations(violations: Iterable[Violation]) -> None:
    """Raise ``RuleError`` unless ``violations`` is empty."""
    if found := tuple(violations):
        raise RuleError(found)


def validate(model: type[Model], document: YamlDocument, known_problems: Iterable[Problem] = ()) -> Model:
    """Validate the document's values as ``model``.

    Raises:
        InputError: ``known_problems`` and all validation errors.
    """
    problems = list(known_problems)
    try:
        checked = model.model_validate(document.values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problems.extend(_problems(details, model, document))
        raise InputError(*_sorted_unique(problems)) from None
    if problems:
        raise InputError(*_sorted_unique(problems))
    return checked


def shown(value: Any) -> str:
    """The value in YAML notation, truncated."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _problems(details: ErrorDetails, model: type[BaseModel], document: YamlDocument) -> Iterator[Problem]:
    keys: KeyPath = tuple(key for key in details["loc"] if key != "[key]")  # pydantic's marker of a mapping's key
    error = details.get("ctx", {}).get("error")
    if isinstance(error, RuleError):
        for violation in error.violations:
            location = document.location_of(keys[:-1] + violation.keys)
            yield Problem(location, violation.found, violation.expected, violation.fix)
    else:
        yield Problem(document.location_of(keys), *_describe(details, keys, model, document))


def _describe(
    details: ErrorDetails, keys: KeyPath, model: type[BaseModel], document: YamlDocument
) -> tuple[str, str, str]:
    """The fields ``found``, ``expected`` and ``fix`` of a ``Problem`` for one of pydantic's errors."""
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
    """The fields of the model that the key path leads to."""
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


def _sorted_unique(problems: Iterable[Problem]) -> list[Problem]:
    """Remove duplicates and sort by file and line."""

    def location(problem: Problem) -> tuple[str, int]:
        file, _, line = problem.where.rpartition(":")
        return (file, int(line)) if line.isdecimal() else (problem.where, 0)

    return sorted(dict.fromkeys(problems), key=location)
