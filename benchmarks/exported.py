"""Compare an exported Flair file with the exported folder of the same model on every tag of a split.

Flair runs in a process of its own that does not import munchray. Ours tags and scores a sentence at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import bench
from munchray.corpora.catalogue import find_corpus, load_split
from munchray.corpora.tags import TokenSpan, iob2_to_iobes, spans_of, spans_to_iob2
from munchray.models.model import Model
from munchray.training.machine import use_threads

Case = tuple[str, Sequence[Sequence[str]], Sequence[Sequence[TokenSpan]]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print and write."""
    parser = bench.parser("exported", __doc__)
    parser.add_argument("model", type=Path, help="a folder that munchray export wrote")
    parser.add_argument("flair_file", type=Path, help="what munchray export --format flair wrote of the same trial")
    parser.add_argument("corpus", help="a known corpus and split, such as ncbi-disease/test")
    options = parser.parse_args(arguments)
    use_threads(1)
    name, _, split = options.corpus.partition("/")
    sentences = [sentence for sentence in load_split(find_corpus(name, None), split) if sentence.tokens]
    words, gold = [list(s.tokens) for s in sentences], [spans_of(s.tags) for s in sentences]
    tags, loss = munchray_predictions(Model.load(options.model), words, gold)
    ((flair_tags, spans, flair_loss),) = flair_predictions((str(options.flair_file.resolve()), words, gold))
    results = bench.Results("exported", f"munchray and plain Flair on {options.corpus}", options.json, arguments)
    results.add(
        **{
            "equal tags": f"{sum(map(equal, tags, flair_tags)):,} of {sum(map(len, tags)):,}",
            "sentences with equal spans": f"{equal(map(spans_of, tags), spans):,} of {len(words):,}",
            "spans": f"{sum(map(len, spans)):,}",
            "our loss": f"{loss:.4f}",
            "Flair's loss": f"{flair_loss:.4f}",
        }
    )
    results.publish()


def equal(ours: Iterable[Any], theirs: Iterable[Any]) -> int:
    """The number of equal pairs."""
    return sum(a == b for a, b in zip(ours, theirs, strict=True))


def munchray_predictions(
    model: Model, sentences: Sequence[Sequence[str]], gold: Sequence[Sequence[TokenSpan]]
) -> tuple[list[list[str]], float]:
    """The tags of every token, in the scheme of the tagger, and the loss summed over the sentences."""
    tagger, names = model.tagger, model.tagger.tag_sets[model.main]
    is_iobes = any(name.startswith("E-") for name in names)
    tags, loss = [], 0.0
    for words, spans in zip(sentences, gold, strict=True):
        features, packing = model.features([words])
        tags += tagger.decode(features, packing, model.main)
        row = spans_to_iob2(spans, len(words))
        ids = torch.tensor([names.index(tag) for tag in (iob2_to_iobes(row) if is_iobes else row)])
        loss += float(tagger.losses(features, packing, ids, [model.main]).detach())
    return tags, loss


def flair_predictions(*cases: Case) -> list[tuple[list[list[str]], list[list[TokenSpan]], float]]:
    """Tags, spans and loss of each case (file, sentences, gold spans) by plain Flair."""
    with TemporaryDirectory() as folder:
        request, response = Path(folder, "request.json"), Path(folder, "response.json")
        request.write_text(json.dumps(cases))
        script = Path(__file__).with_name("plain_flair.py")
        subprocess.run([sys.executable, "-I", str(script), str(request), str(response)], check=True)
        answers = json.loads(response.read_text())
    return [(tags, [[(a, b, kind) for a, b, kind in own] for own in spans], loss) for tags, spans, loss in answers]


if __name__ == "__main__":
    main()
