"""What is measured and logged during training; none of it changes the trained weights without `training.patience`."""
