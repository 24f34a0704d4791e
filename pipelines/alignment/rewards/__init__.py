"""Rewards of online training, all of one form: answers to prompts in, a score for each out."""
