"""Models: loading, adapters, devices, chat templates, and the model registry."""
