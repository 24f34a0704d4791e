"""Models: loading, adapters, devices, chat templates, and the registry of versions."""
