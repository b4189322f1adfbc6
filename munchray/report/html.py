"""The report of a search: one HTML page that needs no network and runs no code. (jinja2)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from munchray import __version__
from munchray.corpora.tags import TokenSpan as Span
from munchray.errors import InputError, WorkError
from munchray.orders import order_text
from munchray.report import figures
from munchray.report.effects import order_evidence
from munchray.report.span_errors import KINDS, Example, SpanErrors, span_errors
from munchray.settings import Job
from munchray.training.trial_results import read_epochs
from munchray.tuning.ranking import RankedTrial, Ranking, ranking
from munchray.tuning.search import trial_folder

if TYPE_CHECKING:
    from munchray.training.data import DataSpec

PAGE = "page.html"  # beside this file
CURVES = 5
CAPTIONS = {
    "progress": "Dev F1 of each trial as it ended, and the best so far, over the updates trained by then.",
    "positions": "Mean dev F1 of the trials that have an auxiliary at a position, and below it how many they are.",
    "paths": "The orders explored as a tree of beginnings, best on top; the best order is red.",
    "curves": "Dev F1 of the best trials over their updates.",
}


@dataclass(frozen=True)
class Piece:
    """A part of a sentence: words, or a span with its type, wrong if the other side does not have it."""

    text: str
    entity_type: str = ""
    wrong: bool = False


def html_report(job: Job, open_data: Callable[[], DataSpec]) -> str:
    """The report of a job's search, finished or not.

    Args:
        open_data: of the job; called if nobody has looked for the best model's errors before.

    Raises:
        InputError: the job has not been searched yet.
        WorkError: no trial has finished.
    """
    ranked = ranking(job)
    errors = _errors(job, ranked, open_data)
    return _page().render(
        job=job,
        ranked=ranked,
        best=ranked.best,
        captions=CAPTIONS,
        figures=_figures(ranked),
        evidence=order_evidence(ranked.trials) if job.search_space.order else None,
        errors=errors if isinstance(errors, SpanErrors) else None,
        no_errors=errors if isinstance(errors, str) else "",
        kinds=KINDS,
        version=__version__,
    )


def example_lines(example: Example) -> list[tuple[str, list[Piece]]]:
    """The gold line of an example and the found one."""
    gold, found = example.gold, example.found
    return [("gold", pieces(example.tokens, gold, found)), ("found", pieces(example.tokens, found, gold))]


def pieces(tokens: Sequence[str], spans: Sequence[Span], other: Sequence[Span]) -> list[Piece]:
    """A sentence cut at its spans, which are in order; ``other`` has what they should be."""
    cut, at = [], 0
    for start, stop, entity_type in spans:
        cut += [Piece(" ".join(tokens[at:start]))] if start > at else []
        cut.append(Piece(" ".join(tokens[start:stop]), entity_type, (start, stop, entity_type) not in other))
        at = stop
    return cut + ([Piece(" ".join(tokens[at:]))] if at < len(tokens) else [])


def _page() -> Template:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # tokens and names are other people's text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(order=lambda order: order_text(order) or "(no auxiliary)", lines=example_lines)
    return templates.get_template(PAGE)


def _errors(job: Job, ranked: Ranking, open_data: Callable[[], DataSpec]) -> SpanErrors | str:
    """What the best model gets wrong, or why that cannot be told."""
    try:
        best = trial_folder(ranked.folder, ranked.best.number)
        job.storage_path.within(best).download("model")
        return span_errors(best, job.main, open_data)
    except (InputError, WorkError) as error:
        if not ranked.trials:
            raise
        return str(error)


def _figures(ranked: Ranking) -> dict[str, str]:
    """SVG elements by name, as they are shown."""
    drawn = figures.drawn(ranked.trials)
    curves = {_label(trial): _curve(ranked.folder, trial) for trial in ranked.trials[:CURVES]}
    drawn["curves"] = figures.learning_curves(curves)
    texts = {name: figures.as_svg(drawn[name]) for name in CAPTIONS if name in drawn}
    return {name: text[text.index("<svg") :] for name, text in texts.items()}


def _label(trial: RankedTrial) -> str:
    return f"{trial.number:04d}  {order_text(trial.order)}"


def _curve(search: Path, trial: RankedTrial) -> list[tuple[int, float]]:
    return [(report.updates, report.dev_f1) for report in read_epochs(trial_folder(search, trial.number))]
