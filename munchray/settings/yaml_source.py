"""Parse YAML files and ``--set`` values, keeping the location of every key for error messages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from munchray.errors import InputError, Problem, nearest

KeyPath = tuple[str | int, ...]

LARGEST_FILE = 1_000_000  # bytes; a job file has a few hundred

_INTEGER = re.compile(r"[-+]?\d{1,18}")  # longer ones are not valid settings, and slow to convert
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+\.\d*|\d+(?=[eE]))([eE][-+]?\d+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")  # only an escape sequence can produce one, and it cannot be encoded in UTF-8
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass
class YamlDocument:
    """The values of a YAML mapping and the source location of each.

    Args:
        values: the mapping as plain Python values.
        locations: ``file:line`` (or ``--set ...``) of every key and list element, by key path.
        included: keys whose values come from another file.
    """

    values: dict[str, Any]
    locations: dict[KeyPath, str]
    included: set[str] = field(default_factory=set)

    def location_of(self, keys: KeyPath) -> str:
        """The location of a value or, if it is missing, of the nearest enclosing one."""
        while keys not in self.locations:
            keys = keys[:-1]
        return self.locations[keys]

    def name_of(self, keys: KeyPath) -> str:
        """``resources_per_trial.gpu`` or ``auxiliaries[2]``; keys of an included file as in that file."""
        inside = keys[1:] if len(keys) > 1 and keys[0] in self.included else keys
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in inside).lstrip(".")

    def include(self, key: str, other: YamlDocument) -> None:
        """Insert another file's values under ``key``."""
        self.values[key] = other.values
        self.locations.update({(key, *keys): location for keys, location in other.locations.items()})
        self.included.add(key)

    def set_value(self, keys: tuple[str, ...], value: Any, location: str) -> None:
        """Set one value, creating missing mappings on its key path.

        Raises:
            InputError: a parent on the key path is not a mapping.
        """
        inside = self.values
        for depth, key in enumerate(keys[:-1], start=1):
            inside = inside.setdefault(key, {})
            self.locations.setdefault(keys[:depth], location)
            if not isinstance(inside, dict):
                name = ".".join(keys[:depth])
                raise InputError(Problem(location, f"{name} holds no keys", f"{name}=VALUE"))
        inside[keys[-1]] = value
        self.locations = {old: at for old, at in self.locations.items() if old[: len(keys)] != keys}
        self.locations[keys] = location


def load_yaml(path: Path, what: str) -> YamlDocument:
    """Load the YAML mapping in a file; ``what`` names it in messages, such as "job file".

    Raises:
        InputError: no such file, not UTF-8, invalid YAML, aliases, tags, duplicate keys, not a mapping, or too large.
    """
    text = _read_text(path, what)
    name = shown_path(path)
    node = _compose(text, lambda line: f"{name}:{line}")
    if node is None:
        raise InputError(Problem(name, f"the {what} is empty", "key: value lines"))
    if not isinstance(node, yaml.MappingNode):
        raise InputError(Problem(f"{name}:{_line(node)}", f"the {what} is not a mapping", "key: value lines"))
    constructor = _Constructor(lambda line: f"{name}:{line}")
    values = constructor.construct(node, ())
    if constructor.problems:
        raise InputError(*constructor.problems)
    return YamlDocument(values, constructor.locations)


def read_value(text: str, where: str) -> Any:
    """Parse one YAML value, such as that of ``--set key=value``.

    Raises:
        InputError: invalid YAML.
    """
    node = _compose(text, lambda line: where)
    constructor = _Constructor(lambda line: where)
    value = None if node is None else constructor.construct(node, ())
    if constructor.problems:
        raise InputError(*constructor.problems)
    return value


def shown_path(path: Path) -> str:
    """The path relative to the current folder if it lies inside, else as given."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _read_text(path: Path, what: str) -> str:
    name = shown_path(path)
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        fix = nearest(path.name, siblings) if siblings else f"There is no YAML file in {path.parent}"
        found = "is a folder" if path.is_dir() else "no such file"
        raise InputError(Problem(name, found, f"a {what}", fix))
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(Problem(name, f"has {path.stat().st_size:,} bytes", f"a {what} of at most 1 MB"))
        data = path.read_bytes()
    except OSError as error:
        raise InputError(Problem(name, f"cannot be read: {error.strerror}", f"a {what}")) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise InputError(Problem(f"{name}:{line}", found, "text in UTF-8")) from None


class _NodeLoader(yaml.SafeLoader):
    """Composes nodes, rejecting anchors and aliases: nine lines of them can expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "anchors (&) and aliases (*) are not supported; write the value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


_NodeLoader.yaml_implicit_resolvers = {}  # not YAML 1.1: `_resolve_scalar` resolves plain scalars


def _compose(text: str, location: Callable[[int], str]) -> yaml.Node | None:
    try:
        return _NodeLoader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(Problem(location(line), f"character {error.character:#04x} is not allowed")) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(_syntax_problem(location(mark.line + 1 if mark else 1), error)) from None
    except RecursionError:
        raise InputError(Problem(location(1), "nested too deeply", "a few levels")) from None


def _syntax_problem(where: str, error: yaml.MarkedYAMLError) -> Problem:
    what = str(error.problem)
    if "'\\t'" in what:
        return Problem(where, "a tab", "spaces before keys")
    if what.startswith("anchors"):
        return Problem(where, what)
    context = f" {error.context}" if error.context else ""
    return Problem(where, f"YAML syntax error{context}: {what}")


@dataclass
class _Constructor:
    """Constructs Python values from nodes, recording locations and collecting problems."""

    location: Callable[[int], str]
    locations: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def construct(self, node: yaml.Node, keys: KeyPath) -> Any:
        self.locations.setdefault(keys, self.location(_line(node)))
        if node.tag not in _TAGS:
            self._add_problem(node, f"the tag {node.tag} is not supported", "a plain value")
            return None
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            self._add_problem(node, "half a character (a \\uD800 to \\uDFFF escape)", "whole characters")
            return None
        if isinstance(node, yaml.MappingNode):
            return {key: self.construct(value, (*keys, key)) for key, value in self._items(node, keys)}
        if isinstance(node, yaml.SequenceNode):
            return [self.construct(item, (*keys, index)) for index, item in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _resolve_scalar(node.value) if plain else node.value

    def _items(self, node: yaml.MappingNode, keys: KeyPath) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or not key or _SURROGATE.search(key):
                self._add_problem(key_node, "a key that is not a word", "key: value")
            elif key in seen:
                self._add_problem(key_node, f"{key} is given twice, first in line {seen[key]}", "each key once")
            else:
                seen[key] = line
                key_path = (*keys, key)
                self.locations[key_path] = self.location(line)
                yield key, value_node

    def _add_problem(self, node: yaml.Node, found: str, expected: str) -> None:
        self.problems.append(Problem(self.location(_line(node)), found, expected))


_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str")}


def _resolve_scalar(text: str) -> Any:
    """A plain scalar by the rules of YAML 1.2: ``1e-4`` is a number, ``no`` and ``on`` are strings."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
