"""Many trials: what to try next (Optuna), where it runs (Ray), what is kept of it (MLflow)."""
