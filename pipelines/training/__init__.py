"""Supervised fine-tuning: training examples, batching, the trainer, progress and checkpoints."""
