"""Frozen embeddings and the feature store that caches them on disk for every sentence."""
