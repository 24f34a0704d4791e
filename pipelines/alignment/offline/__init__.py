"""Offline preference optimisation: losses on fixed pairs, their reference and their training."""
