"""Judges: vision-language models asked for verdicts, by prompts in versioned files."""
