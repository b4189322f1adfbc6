"""Frozen embeddings, and the store that keeps what they give for every sentence."""
