"""Preferences, the reward model, DPO and PPO."""
