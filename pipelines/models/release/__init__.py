"""Merged models, and the registry of their versions."""
