"""Metrics: each a small class with its definition, range and source in the docstring."""
