"""The report of a comparison: tables, figures, slices and the HTML page."""
