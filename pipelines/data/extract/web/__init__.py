"""Readers for web pages and WARC archives."""
