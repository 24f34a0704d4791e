"""Checks before the weights are loaded. They take seconds; training takes hours."""
