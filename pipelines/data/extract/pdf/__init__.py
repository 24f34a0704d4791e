"""PDF reader: text lines, reading order across columns, paragraphs."""
