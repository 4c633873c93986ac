"""Benchmarks: each an adapter from its authors' published layout to cases."""
