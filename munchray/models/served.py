"""What MLflow runs when it loads or serves a registered model: text in, spans out. (mlflow)

MLflow keeps a copy of this file with the model and executes it, so that nothing of the model is a pickle.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from munchray.models.bundle import Model
from munchray.models.text import character_spans, from_words, read_document

BUNDLE = "model"
"""The artifact that is an exported folder."""
EXPECTED = "Each input must be a text, or the list of a sentence's tokens, none of them empty."

# MLflow would warn each time that it does not check inputs of several types itself; `_sentences` does.
logging.getLogger("mlflow.types.type_hints").setLevel(logging.ERROR)


class SpanModel(PythonModel):  # type: ignore[misc]
    """Finds spans in texts and in sentences that are tokens already."""

    def load_context(self, context: Any) -> None:
        """Open the exported model."""
        self._model = Model.load(Path(context.artifacts[BUNDLE]))

    def predict(
        self, context: Any, model_input: list[str | list[str]], params: dict[str, Any] | None = None
    ) -> list[list[dict[str, str | int | float]]]:
        """The spans of each input: ``start`` and ``end`` in characters, ``type``, ``text``, ``score``.

        Args:
            model_input: texts; or tokens, whose offsets count in the tokens joined by spaces.

        Raises:
            MlflowException: an input that is neither (a server answers 400).
        """
        sentences = [(n, *placed) for n, given in enumerate(model_input) for placed in _sentences(n, given)]
        found = self._model.find(sentence.words for _, _, sentence in sentences)
        spans: list[list[dict[str, Any]]] = [[] for _ in model_input]
        for (number, offset, sentence), own in zip(sentences, found, strict=True):
            spans[number] += character_spans(sentence, own, offset)
        return spans


def _sentences(number: int, given: object) -> list[tuple[int, Any]]:
    if isinstance(given, str):
        return list(read_document(given))
    if isinstance(given, list) and all(isinstance(token, str) and token for token in given):
        return [(0, from_words(given))]
    raise MlflowException.invalid_parameter_value(f"{EXPECTED} Input {number} is {str(given)[:200]!r}.")


set_model(SpanModel())
