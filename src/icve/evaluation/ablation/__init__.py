"""Ablations: a grid of training runs and seeds, each resumable, judged alike, and one report with intervals."""
