"""Benchmarks, one command each: `python -m benchmarks.NAME` in the root of a checkout."""
