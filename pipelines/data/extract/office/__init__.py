"""Readers for ZIP packages of XML parts: Word files (OPC) and EPUB books (OCF)."""
