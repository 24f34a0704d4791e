"""What a model answers, how that is scored, and how models are compared."""
