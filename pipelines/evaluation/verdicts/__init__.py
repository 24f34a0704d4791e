"""Verdicts beyond the rules: hand-labelled outputs, an LLM judge calibrated on them, and invented entities."""
