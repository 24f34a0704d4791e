"""Several processes of one training: their start, and a model sharded over them."""
