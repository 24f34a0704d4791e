"""Web page fetching: robots.txt, rate limits, address checks and a WARC archive of the responses."""
