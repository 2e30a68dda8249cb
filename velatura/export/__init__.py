"""A trained anonymizer as a file that runs without torch, checked before it gets its name."""
