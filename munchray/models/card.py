"""Model cards in Markdown: origin, scores, training settings, licences of the corpora."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from munchray import __version__
from munchray.corpora.catalogue import licence_of
from munchray.features.sources import EmbeddingSpec
from munchray.orders import order_text
from munchray.tagging.scoring import SpanCounts

SHOWN_SETTINGS = ("regime", "learning_rate", "batch_size", "hidden_size", "tag_scheme", "seed")


def model_card(name: str, scores: Mapping[str, Any], embeddings: Sequence[EmbeddingSpec]) -> str:
    """The card of a model; ``scores`` as in `TrainedModel`."""
    return "\n".join(_card_lines(name, scores, embeddings)) + "\n"


def _card_lines(name: str, scores: Mapping[str, Any], embeddings: Sequence[EmbeddingSpec]) -> Iterator[str]:
    settings = scores["settings"]
    main, auxiliaries = settings["main"], settings["auxiliaries"]
    yield f"# {name}"
    yield ""
    yield f"Finds what the annotators of **{main}** would mark."
    yield f"A BiLSTM-CRF of munchray {__version__}: {_origin(scores)}."
    yield ""
    yield "## Scores"
    yield ""
    yield from _score_lines(scores)
    yield ""
    yield "## Training"
    yield ""
    yield f"- auxiliary corpora, in order: {order_text(auxiliaries) or 'none'}"
    yield from (f"- {key.replace('_', ' ')}: {settings[key]}" for key in SHOWN_SETTINGS)
    yield from (f"- embedding: {spec}" for spec in embeddings)
    yield ""
    yield "## Licences of the corpora"
    yield ""
    yield from (f"- {corpus}: {licence_of(corpus)}" for corpus in (main, *auxiliaries))


def _origin(scores: Mapping[str, Any]) -> str:
    if "trial" in scores:
        return f"trial {scores['trial']['number']} of the search {scores['search']}"
    return f"the final model of the search {scores['search']} ({scores['winner']})"


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """The dev scores of a trial, by which it was selected; the test scores of a final model."""
    if "trial" in scores:
        trial = scores["trial"]
        figures = ", ".join(f"{key} {trial[f'dev_{key}']:.2f}" for key in ("precision", "recall", "f1"))
        yield f"Exact spans on dev, in percent: {figures}."
        yield "It was chosen by this score, so expect less on other text; `munchray finalize` measures how much less."
        return
    for corpus, values in scores["test"].items():
        counts = SpanCounts(**values)
        figures = f"precision {counts.precision:.2f}, recall {counts.recall:.2f}, f1 {counts.f1:.2f}"
        yield f"Exact spans on the test split of {corpus}, in percent: {figures}."
    over_seeds = scores["test_f1"]
    if len(over_seeds) > 1:
        spread = f"mean {fmean(over_seeds):.2f}, standard deviation {stdev(over_seeds):.2f}"
        yield f"Trained alike with {len(over_seeds)} seeds, f1 on test is {spread}."
    yield f"How it was chosen: {scores['rule']}."
