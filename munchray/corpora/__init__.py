"""Corpora: where labelled sentences come from, how their files are read, what their tags mean."""
