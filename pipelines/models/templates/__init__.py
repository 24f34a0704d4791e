"""What a chat template says: its canonical form, its stop tokens, and its chain of thought."""
