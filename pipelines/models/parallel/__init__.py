"""Several processes of one training: their start, and a model divided among them."""
