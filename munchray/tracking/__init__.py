"""What MLflow keeps of a search: its runs, their curves, the best model."""
