"""Training rows: selection, augmentation, leak checks, coverage, the report and the dataset card."""
