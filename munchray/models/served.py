"""The MLflow flavour of a registered model: text in, spans out. (mlflow)

MLflow copies this file into the model and executes it, so that no part of the model is a pickle.
"""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from munchray.models.model import Model
from munchray.models.text import TokenizedSentence, from_tokens, tokenize_document

MODEL_ARTIFACT = "model"
"""The artifact that is an exported folder."""
EXPECTED = "Each input must be a text, or the list of a sentence's tokens, none of them empty."

# MLflow would warn on every load that it does not validate inputs of several types; `_sentences` does.
logging.getLogger("mlflow.types.type_hints").setLevel(logging.ERROR)


class SpanModel(PythonModel):  # type: ignore[misc]
    """Finds spans in texts and in tokenised sentences."""

    def load_context(self, context: Any) -> None:
        """Load the exported model."""
        self._model = Model.load(context.artifacts[MODEL_ARTIFACT])

    def predict(
        self, context: Any, model_input: list[str | list[str]], params: dict[str, Any] | None = None
    ) -> list[list[dict[str, str | int | float]]]:
        """The spans of each input: ``start`` and ``end`` in characters, ``type``, ``text``, ``probability``.

        Args:
            model_input: texts; or tokens, whose offsets count in the tokens joined by spaces.

        Raises:
            MlflowException: an input that is neither (a server answers 400).
        """
        inputs = [_sentences(number, given) for number, given in enumerate(model_input)]
        found = self._model.iter_spans(chain.from_iterable(inputs))
        return [[span.as_dict() for _ in sentences for span in next(found)] for sentences in inputs]


def _sentences(number: int, given: object) -> list[TokenizedSentence]:
    if isinstance(given, str):
        return list(tokenize_document(given))
    if isinstance(given, list) and all(isinstance(token, str) and token for token in given):
        return [from_tokens(given)]
    raise MlflowException.invalid_parameter_value(f"{EXPECTED} Input {number} is {str(given)[:200]!r}.")


set_model(SpanModel())
