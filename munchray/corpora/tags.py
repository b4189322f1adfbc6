"""Tag schemes IOB1, IOB2 and IOBES: conversion from and to spans, validation, detection.

Inside munchray a corpus is IOB2 and the tagger may use IOBES. Files come in any of the three; whether they
are valid in a scheme depends on their *transitions*, the pairs of neighbouring tags, of which even a large corpus
has only a few dozen distinct ones. ``O`` is assumed before and after a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

TokenSpan = tuple[int, int, str]  # first token, token after the last, entity type
Transition = tuple[str, str]  # a tag and the tag after it

OUTSIDE = "O"
UNKNOWN = ""  # for a line that could not be read; no transition with it is a violation
SCHEMES = ("iob1", "iob2", "iobes")
PREFIXES = {"iob1": "BI", "iob2": "BI", "iobes": "BIESLU"}  # L(ast) and U(nit): BILOU's names for E and S
_BEGINS, _INSIDE, _ENDS = "BSU", "IEL", "ESLU"


def spans_of(tags: Sequence[str]) -> list[TokenSpan]:
    """The entity spans of an IOB2 or IOBES sequence, ill-formed ones included, in order of position.

    A span begins at ``B-`` and ``S-``, and at ``I-`` and ``E-`` when the tag before is ``O``, ``E-``, ``S-``
    or of another type (the rule of conlleval, and of seqeval when it is not strict).
    """
    spans = []
    start, before = 0, OUTSIDE
    for position, tag in enumerate((*tags, OUTSIDE)):
        begins = begins_span(before, tag)
        if before != OUTSIDE and (begins or tag == OUTSIDE):
            spans.append((start, position, before[2:]))
        if begins:
            start = position
        before = tag
    return spans


def begins_span(before: str, tag: str) -> bool:
    """Whether `spans_of` begins a span at ``tag`` if the tag before it is ``before``."""
    if tag == OUTSIDE:
        return False
    return tag[0] in _BEGINS or before == OUTSIDE or before[0] in _ENDS or before[2:] != tag[2:]


def spans_to_iob2(spans: Iterable[TokenSpan], length: int) -> list[str]:
    """Encode non-overlapping spans as ``length`` IOB2 tags."""
    tags = [OUTSIDE] * length
    for start, stop, kind in spans:
        tags[start:stop] = [f"B-{kind}"] + [f"I-{kind}"] * (stop - start - 1)
    return tags


def iob2_to_iobes(tags: Sequence[str]) -> list[str]:
    """Convert IOB2 to IOBES: ``E-`` on the last token of an entity, ``S-`` on a single one."""
    iobes = spans_to_iob2(spans := spans_of(tags), len(tags))
    for start, stop, kind in spans:
        iobes[stop - 1] = f"E-{kind}" if stop - start > 1 else f"S-{kind}"
    return iobes


def iobes_to_iob2(tags: Sequence[str]) -> list[str]:
    """Convert any tags to valid IOB2 with the spans that `spans_of` finds; never fails on the output of a model."""
    return spans_to_iob2(spans_of(tags), len(tags))


def tag_set(types: Iterable[str], scheme: str) -> list[str]:
    """All tags of a corpus with these entity types: ``O``, then ``B I E S`` (``iobes``) or ``B I`` for each type."""
    letters = {"iobes": "BIES", "iob2": "BI"}[scheme]
    return [OUTSIDE] + [f"{letter}-{kind}" for kind in sorted(set(types)) for letter in letters]


class Violation(NamedTuple):
    """An invalid transition: which of its two tags is wrong (0 or 1), what was found, what is expected."""

    side: int
    found: str
    expected: str


def violation(scheme: str, before: str, after: str) -> Violation | None:
    """Check ``after`` directly behind ``before`` in ``iob1``, ``iob2`` or ``iobes``; None if it is valid."""
    if UNKNOWN in (before, after):
        return None
    return _iobes_violation(before, after) if scheme == "iobes" else _iob_violation(scheme, before, after)


def _iob_violation(scheme: str, before: str, after: str) -> Violation | None:
    """IOB2 has no ``I-`` that does not continue an entity; IOB1 no ``B-`` that does not follow its own type."""
    wrong, right = ("I", "B") if scheme == "iob2" else ("B", "I")
    touches = before != OUTSIDE and before[2:] == after[2:]
    if after[0] != wrong or touches:
        return None
    return Violation(1, f"tag '{after}' {_context(before)}", f"'{right}{after[1:]}' ({scheme.upper()})")


def _iobes_violation(before: str, after: str) -> Violation | None:
    opened, inside = before[0] in "BI", after[0] in _INSIDE
    if opened == inside and (not opened or before[2:] == after[2:]):
        return None
    if inside:
        kind = after[1:]
        return Violation(1, f"tag '{after}' {_context(before)}", f"'B{kind}' or 'I{kind}' before it (IOBES)")
    kind, end = before[1:], "the end of the sentence or 'O'" if after == OUTSIDE else f"'{after}'"
    return Violation(0, f"tag '{before}' followed by {end}", f"'I{kind}' or 'E{kind}' after it (IOBES)")


def _context(before: str) -> str:
    return "at the start of a sentence or after 'O'" if before == OUTSIDE else f"after '{before}'"


def only_in_iobes(tag: str) -> bool:
    """Whether a tag occurs in IOBES (or BILOU) alone."""
    return tag != UNKNOWN and tag[0] in _ENDS


def detect_scheme(transitions: Iterable[Transition]) -> str | None:
    """The scheme of a file with these transitions; None if it is valid in neither IOB2 nor IOB1.

    ``E-``, ``S-``, ``L-`` or ``U-`` anywhere means IOBES. Otherwise a file in which no ``I-`` begins an entity
    (one without entities too) is IOB2, and one in which every ``B-`` directly follows its own type is IOB1.
    """
    pairs = set(transitions)
    if any(only_in_iobes(tag) for _, tag in pairs):
        return "iobes"
    valid = (name for name in ("iob2", "iob1") if not any(violation(name, *pair) for pair in pairs))
    return next(valid, None)
