"""Predictions and loss of plain Flair with an exported file: run by `benchmarks.exported`, does not import munchray.

`python -I plain_flair.py REQUEST RESPONSE`: REQUEST is a JSON list of [file, sentences, gold spans]; RESPONSE becomes a
list of [tags, spans, loss summed over the sentences].
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from flair.data import Sentence
from flair.models import SequenceTagger

BATCH = 32


def main() -> None:
    """Read the request, predict, write the response."""
    torch.set_num_threads(1)
    request, response = map(Path, sys.argv[1:])
    answers = [predict(*each) for each in json.loads(request.read_text())]
    assert not [name for name in sys.modules if name.startswith("munchray")]
    response.write_text(json.dumps(answers))


def predict(file: str, sentences: list[list[str]], gold: list[list[tuple[int, int, str]]]) -> list[Any]:
    """Tags of every token, spans and summed loss."""
    tagger = SequenceTagger.load(file)
    kind = tagger.tag_type
    tagger.predict(tagged := [Sentence(words) for words in sentences], force_token_predictions=True)
    tagger.predict(spanned := [Sentence(words) for words in sentences])
    tags = [[token.get_label(kind, "O").value for token in sentence] for sentence in tagged]
    spans = [
        [(span[0].idx - 1, span[-1].idx, span.get_label(kind).value) for span in sentence.get_spans(kind)]
        for sentence in spanned
    ]
    return [tags, spans, loss(tagger, sentences, gold)]


def loss(tagger: Any, sentences: list[list[str]], gold: list[list[tuple[int, int, str]]]) -> float:
    """The loss, summed over the sentences."""
    labelled = [Sentence(words) for words in sentences]
    for sentence, spans in zip(labelled, gold, strict=True):
        for start, stop, kind in spans:
            sentence[start:stop].add_label(tagger.tag_type, kind)
    total = 0.0
    for begin in range(0, len(labelled), BATCH):
        with torch.no_grad():
            total += float(tagger.forward_loss(batch := labelled[begin : begin + BATCH])[0])
        for sentence in batch:
            sentence.clear_embeddings()
    return total


if __name__ == "__main__":
    main()
