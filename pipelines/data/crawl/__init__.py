"""Fetching web pages: robots.txt, rate limits, address checks, a WARC archive of the answers."""
