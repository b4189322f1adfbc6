"""munchray: search how a named entity tagger should be trained when many corpora are at hand."""

__version__ = "0.1.0"
