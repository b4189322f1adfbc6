"""From settings to scores: what comes next, how a stage is trained, what one trial is."""
