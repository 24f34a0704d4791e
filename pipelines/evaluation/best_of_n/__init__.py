"""Best-of-n: how much a candidate gains from several samples, and from choosing among them with a reward model."""
