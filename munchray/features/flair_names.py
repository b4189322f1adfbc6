"""The names of Flair's pretrained embeddings, found without importing flair (which takes many seconds)."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from munchray.errors import WorkError

WORD_VECTORS = ("glove", "turian", "extvec", "pubmed", "crawl", "news", "twitter")
_WORD_VECTORS = re.compile(rf"(en-)?({'|'.join(WORD_VECTORS)})|[a-z]{{2}}(-wiki|-crawl)?", re.IGNORECASE)


def is_word_vectors(name: str) -> bool:
    """Whether Flair's ``WordEmbeddings`` knows the name: ``pubmed``, ``en-news``, ``de``, ``de-wiki``."""
    return _WORD_VECTORS.fullmatch(name) is not None


def is_language_model(name: str) -> bool:
    """Whether Flair's ``FlairEmbeddings`` knows the name: ``pubmed-forward``, ``german-backward``."""
    name = name.lower()
    if name in language_models():
        return True
    for language, code in re.findall(r'replace\("([a-z]+-)", "([a-z]+-)"\)', _flair_source()):
        name = name.replace(language, code)
    return name in language_models()


@lru_cache
def language_models() -> frozenset[str]:
    """The names in the table of Flair's ``FlairEmbeddings``, read from flair's source."""
    table = re.search(r"PRETRAINED_MODEL_ARCHIVE_MAP[^=\n]* = \{\n(.*?)\n +\}\n", _flair_source(), re.DOTALL)
    if table is None:
        raise WorkError("no list of language models found in this version of flair; munchray supports flair 0.15")
    return frozenset(re.findall(r'"([^"]+)":', table[1]))


@lru_cache
def _flair_source() -> str:
    found = importlib.util.find_spec("flair")
    if found is None or not found.submodule_search_locations:
        raise WorkError("flair is not installed; run `pip install flair`")
    return (Path(found.submodule_search_locations[0]) / "embeddings" / "token.py").read_text(encoding="utf-8")
