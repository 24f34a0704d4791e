"""What methods of fine-tuning do before and during the training loop."""
