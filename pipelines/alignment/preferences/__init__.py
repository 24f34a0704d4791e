"""Preference pairs: their prompts, the samples of the policy, and the rankers that order these."""
