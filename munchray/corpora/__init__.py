"""Labelled corpora: download, file formats, tag schemes, and generated samples."""
