"""Supervised tuning: the rows a model is shown, the trainer, its progress."""
