"""Text, whoever wrote it: words, sentences, names, n-grams, languages, and the normal forms that are compared."""
