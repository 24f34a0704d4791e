"""Deduplication: URL and exact keys, MinHash LSH with verified Jaccard, embeddings, repeated passages."""
