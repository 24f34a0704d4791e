"""Infrastructure that affects no result (progress, errors, locks, tracking, pages); excluded from code fingerprints."""
