"""The paper's protocol: what is chosen on dev, retrained with fresh seeds and scored on test once; and statistics."""
