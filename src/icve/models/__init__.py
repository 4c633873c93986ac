"""Models: the in-context transformer and the conversion of original checkpoints."""
