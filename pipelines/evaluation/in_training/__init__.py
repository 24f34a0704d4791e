"""Evaluation questions asked while a model is trained."""
