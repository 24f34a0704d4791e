"""Measurements during training: curves, early stopping, utilization and sample answers."""
