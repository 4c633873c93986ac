"""Asks a vision-language model behind any OpenAI-compatible endpoint: patiently, never twice, and never in the open."""
