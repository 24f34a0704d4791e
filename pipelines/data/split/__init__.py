"""Held-out text: whole documents or sections, away from what questions need, and decontamination of training."""
