"""A model to take away: exported, loaded, used on new text."""
