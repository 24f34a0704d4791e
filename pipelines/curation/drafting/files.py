"""Files of drafted evaluation questions, which `draft_questions` writes and the review page reads."""

from pathlib import Path

FOLDER = Path(".gradus/questions")
DRAFTS = FOLDER / "drafts.jsonl"
"""One draft per line, with its id, in the order of review."""
REJECTED = FOLDER / "rejected.jsonl"
"""Ids of rejected drafts; accepted ones are recognised by their id in `evaluate.questions`."""
KEY = FOLDER / "key.json"
"""Hash of what the drafts were made from."""
