"""Exported models: writing, loading, tagging new text, scoring."""
