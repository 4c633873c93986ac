"""The exact judge of edits of the procedural world."""
