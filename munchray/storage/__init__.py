"""Where searches are kept: a folder, or a bucket of which every machine has a copy."""
