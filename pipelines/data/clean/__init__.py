"""Cleaning: Unicode normalization, boilerplate, C4 line rules, PII masking, quality and distribution filters."""
