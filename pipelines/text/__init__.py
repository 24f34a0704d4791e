"""Text processing: words, sentences, names, n-grams, language identification, and normalization for comparison."""
