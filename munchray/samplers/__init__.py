"""Optuna samplers over orders and training parameters, usable without Ray."""
