"""Drafts of evaluation questions, for a person to accept, edit or reject."""
