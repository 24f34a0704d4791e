"""Evaluation: generate answers, score them and compare models."""
