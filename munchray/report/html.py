"""The report of a search: one static, self-contained HTML page. (jinja2)"""

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
from munchray.report.effects import order_effects
from munchray.report.span_errors import KINDS, Example, SpanErrors, span_errors
from munchray.settings import Job
from munchray.training.trial_results import read_epochs
from munchray.tuning.folder import trial_folder
from munchray.tuning.ranking import RankedTrial, Ranking, ranking

if TYPE_CHECKING:
    from munchray.training.data import DataSpec

PAGE = "page.html"  # beside this file
CURVES = 5
CAPTIONS = {
    "progress": "Dev F1 of each trial when it ended, and the best so far, over the updates trained by then.",
    "positions": "Mean dev F1 of the trials with an auxiliary at a position, and below it their number.",
    "paths": "The orders explored as a tree of prefixes, best on top; the best order is red.",
    "curves": "Dev F1 of the best trials over their updates.",
}


@dataclass(frozen=True)
class Segment:
    """A part of a sentence: plain words, or a span with its type; ``wrong`` if the other annotation lacks it."""

    text: str
    entity_type: str = ""
    wrong: bool = False


def html_report(job: Job, open_data: Callable[[], DataSpec]) -> str:
    """Render the report of a job's search, finished or not.

    Args:
        open_data: opens the job's data; called unless the best model's span errors are cached.

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
        effects=order_effects(ranked.trials) if job.search_space.order else None,
        errors=errors if isinstance(errors, SpanErrors) else None,
        no_errors=errors if isinstance(errors, str) else "",
        kinds=KINDS,
        version=__version__,
    )


def example_lines(example: Example) -> list[tuple[str, list[Segment]]]:
    """The gold and the predicted annotation of an example."""
    gold, found = example.gold, example.found
    return [("gold", segments(example.tokens, gold, found)), ("found", segments(example.tokens, found, gold))]


def segments(tokens: Sequence[str], spans: Sequence[Span], other: Sequence[Span]) -> list[Segment]:
    """Split a sentence at its spans, which are sorted; spans that are not in ``other`` are wrong."""
    cut, at = [], 0
    for start, stop, entity_type in spans:
        cut += [Segment(" ".join(tokens[at:start]))] if start > at else []
        cut.append(Segment(" ".join(tokens[start:stop]), entity_type, (start, stop, entity_type) not in other))
        at = stop
    return cut + ([Segment(" ".join(tokens[at:]))] if at < len(tokens) else [])


def _page() -> Template:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # tokens and names are untrusted text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(order=lambda order: order_text(order) or "(no auxiliary)", lines=example_lines)
    return templates.get_template(PAGE)


def _errors(job: Job, ranked: Ranking, open_data: Callable[[], DataSpec]) -> SpanErrors | str:
    """The best model's span errors, or why they are not available."""
    try:
        best = trial_folder(ranked.folder, ranked.best.number)
        job.storage_path.within(best).download("model")
        return span_errors(best, job.main, open_data)
    except (InputError, WorkError) as error:
        if not ranked.trials:
            raise
        return str(error)


def _figures(ranked: Ranking) -> dict[str, str]:
    """SVG elements by name, in the order of the page."""
    drawn = figures.draw_all(ranked.trials)
    curves = {_label(trial): _curve(ranked.folder, trial) for trial in ranked.trials[:CURVES]}
    drawn["curves"] = figures.learning_curves(curves)
    texts = {name: figures.to_svg(drawn[name]) for name in CAPTIONS if name in drawn}
    return {name: text[text.index("<svg") :] for name, text in texts.items()}


def _label(trial: RankedTrial) -> str:
    return f"{trial.number:04d}  {order_text(trial.order)}"


def _curve(search: Path, trial: RankedTrial) -> list[tuple[int, float]]:
    return [(epoch.updates, epoch.dev_f1) for epoch in read_epochs(trial_folder(search, trial.number))]
