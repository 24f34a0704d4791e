"""Confidence in answers, and the threshold below which a model abstains."""
