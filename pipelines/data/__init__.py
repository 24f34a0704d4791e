"""From files to clean, unique documents: extract, clean, deduplicate, split."""
