"""PDF files: text lines, reading order across columns, paragraphs."""
