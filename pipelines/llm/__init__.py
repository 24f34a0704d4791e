"""Calls to language models, local or behind an OpenAI-compatible server: prompts, retries, budget, and a cache."""
