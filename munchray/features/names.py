"""The names that Flair knows its embeddings by, found without importing flair (which takes many seconds)."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from munchray.errors import WorkError

WORD_VECTORS = ("glove", "turian", "extvec", "pubmed", "crawl", "news", "twitter")
_WORD_VECTORS = re.compile(rf"(en-)?({'|'.join(WORD_VECTORS)})|[a-z]{{2}}(-wiki|-crawl)?", re.IGNORECASE)


def is_word_vectors(name: str) -> bool:
    """Whether Flair's ``WordEmbeddings`` has vectors of this name: ``pubmed``, ``en-news``, ``de``, ``de-wiki``."""
    return _WORD_VECTORS.fullmatch(name) is not None


def is_language_model(name: str) -> bool:
    """Whether Flair's ``FlairEmbeddings`` has a model of this name: ``pubmed-forward``, ``german-backward``."""
    name = name.lower()
    if name in language_models():
        return True
    for language, code in re.findall(r'replace\("([a-z]+-)", "([a-z]+-)"\)', _source()):
        name = name.replace(language, code)
    return name in language_models()


@lru_cache
def language_models() -> frozenset[str]:
    """The names in the table of Flair's ``FlairEmbeddings``, read from flair's source."""
    table = re.search(r"PRETRAINED_MODEL_ARCHIVE_MAP[^=\n]* = \{\n(.*?)\n +\}\n", _source(), re.DOTALL)
    if table is None:
        raise WorkError("this flair keeps its list of language models elsewhere; munchray knows flair 0.15")
    return frozenset(re.findall(r'"([^"]+)":', table[1]))


@lru_cache
def _source() -> str:
    found = importlib.util.find_spec("flair")
    if found is None or not found.submodule_search_locations:
        raise WorkError("flair is not installed; `pip install flair` brings it")
    return (Path(found.submodule_search_locations[0]) / "embeddings" / "token.py").read_text(encoding="utf-8")
