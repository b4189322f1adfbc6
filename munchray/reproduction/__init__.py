"""Reproduction of the paper's tables: planned trainings, their cost, and results beside the published ones."""
