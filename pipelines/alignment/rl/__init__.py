"""Online reinforcement learning: PPO and GRPO on one backbone, rewards, and limits at which a run stops."""
