"""Text extraction: a reader for each format, run in worker processes, with a cache of the results."""
