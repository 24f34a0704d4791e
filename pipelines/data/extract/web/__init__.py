"""Web pages, and the WARC archives that hold them."""
