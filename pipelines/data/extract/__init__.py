"""From files to documents: a reader for each format, run by worker processes, with a cache of what they gave."""
