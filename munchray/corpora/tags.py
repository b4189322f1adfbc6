"""What tags mean: exact spans, the schemes IOB1, IOB2 and IOBES, and which of them a file is written in.

Inside munchray a corpus is IOB2 and the tagger may use IOBES. Files come in any of the three; whether they
keep to a scheme is decided by their *steps*, the pairs of neighbouring tags, of which even a large corpus has
only a few dozen different ones. ``O`` stands on both sides of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Span = tuple[int, int, str]  # first token, token after the last, entity type
Step = tuple[str, str]  # a tag and the tag after it

OUTSIDE = "O"
UNKNOWN = ""  # stands where a line could not be read; no step with it is a fault
SCHEMES = ("iob1", "iob2", "iobes")
PREFIXES = {"iob1": "BI", "iob2": "BI", "iobes": "BIESLU"}  # L(ast) and U(nit): BILOU's names for E and S
_BEGINS, _INSIDE, _ENDS = "BSU", "IEL", "ESLU"


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The entities of an IOB2 or IOBES sequence, also of an ill-formed one, in order of position.

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
    """Whether `spans_of` begins a span at ``tag`` when it stands behind ``before``."""
    if tag == OUTSIDE:
        return False
    return tag[0] in _BEGINS or before == OUTSIDE or before[0] in _ENDS or before[2:] != tag[2:]


def spans_to_iob2(spans: Iterable[Span], length: int) -> list[str]:
    """``length`` IOB2 tags with these spans, which must not overlap."""
    tags = [OUTSIDE] * length
    for start, stop, kind in spans:
        tags[start:stop] = [f"B-{kind}"] + [f"I-{kind}"] * (stop - start - 1)
    return tags


def iob2_to_iobes(tags: Sequence[str]) -> list[str]:
    """The same entities in IOBES: ``E-`` on the last token of an entity, ``S-`` on an only one."""
    iobes = spans_to_iob2(spans := spans_of(tags), len(tags))
    for start, stop, kind in spans:
        iobes[stop - 1] = f"E-{kind}" if stop - start > 1 else f"S-{kind}"
    return iobes


def iobes_to_iob2(tags: Sequence[str]) -> list[str]:
    """The entities that `spans_of` sees, in IOB2; never fails on what a model puts out."""
    return spans_to_iob2(spans_of(tags), len(tags))


def tag_set(types: Iterable[str], scheme: str) -> list[str]:
    """All tags of a corpus with these entity types: ``O``, then ``B I E S`` (``iobes``) or ``B I`` a type."""
    letters = {"iobes": "BIES", "iob2": "BI"}[scheme]
    return [OUTSIDE] + [f"{letter}-{kind}" for kind in sorted(set(types)) for letter in letters]


class Fault(NamedTuple):
    """What a scheme has against a step: on which of its two tags (0 or 1), what is there, what should be."""

    side: int
    found: str
    expected: str


def fault(scheme: str, before: str, after: str) -> Fault | None:
    """What ``iob1``, ``iob2`` or ``iobes`` has against ``after`` directly behind ``before``, if anything."""
    if UNKNOWN in (before, after):
        return None
    return _iobes_fault(before, after) if scheme == "iobes" else _iob_fault(scheme, before, after)


def _iob_fault(scheme: str, before: str, after: str) -> Fault | None:
    """IOB2 has no ``I-`` where no entity goes on; IOB1 has no ``B-`` where none of its type came before."""
    wrong, right = ("I", "B") if scheme == "iob2" else ("B", "I")
    touches = before != OUTSIDE and before[2:] == after[2:]
    if after[0] != wrong or touches:
        return None
    return Fault(1, f"tag '{after}' {_behind(before)}", f"'{right}{after[1:]}' ({scheme.upper()})")


def _iobes_fault(before: str, after: str) -> Fault | None:
    opened, inside = before[0] in "BI", after[0] in _INSIDE
    if opened == inside and (not opened or before[2:] == after[2:]):
        return None
    if inside:
        kind = after[1:]
        return Fault(1, f"tag '{after}' {_behind(before)}", f"'B{kind}' or 'I{kind}' before it (IOBES)")
    kind, end = before[1:], "the end of the sentence or 'O'" if after == OUTSIDE else f"'{after}'"
    return Fault(0, f"tag '{before}' followed by {end}", f"'I{kind}' or 'E{kind}' after it (IOBES)")


def _behind(before: str) -> str:
    return "at the start of a sentence or after 'O'" if before == OUTSIDE else f"after '{before}'"


def says_iobes(tag: str) -> bool:
    """Whether only an IOBES (or BILOU) file can have this tag."""
    return tag != UNKNOWN and tag[0] in _ENDS


def recognise(steps: Iterable[Step]) -> str | None:
    """The scheme a file with these steps is written in; None when it contradicts both IOB2 and IOB1.

    ``E-``, ``S-``, ``L-`` or ``U-`` anywhere says IOBES. Otherwise IOB2 is a file where no ``I-`` begins an
    entity (so is one without entities), and IOB1 one where every ``B-`` directly follows its own type.
    """
    steps = set(steps)
    if any(says_iobes(tag) for _, tag in steps):
        return "iobes"
    fitting = (name for name in ("iob2", "iob1") if not any(fault(name, *step) for step in steps))
    return next(fitting, None)
