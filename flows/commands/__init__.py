"""Implementations of `gradus` commands, one module each."""
