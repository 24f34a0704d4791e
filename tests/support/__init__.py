"""Shared test support: generated files, servers and projects."""
