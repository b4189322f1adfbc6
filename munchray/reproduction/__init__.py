"""The paper's tables beside ours: what each needs trained, what it costs, how it is laid out."""
