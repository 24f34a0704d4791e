"""Document processing: extract, clean, deduplicate and split the corpus."""
