"""Methods of fine-tuning: which parameters are trained, added or masked, and in which form they are stored."""
