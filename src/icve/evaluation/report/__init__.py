"""The report of an evaluation: one HTML file with tables, plots and clips that play in step."""
