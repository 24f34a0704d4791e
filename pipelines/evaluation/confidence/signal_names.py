"""The signals of an answer's correctness, and what each measures; the order is that of their values."""

SIGNALS = {
    "log_likelihood": "mean log-likelihood of the answer's tokens",
    "agreement": "the same, given only the question's content words",
    "grounding": "share of the answer's terms in the sentence that supports it best",
    "support": "grounding, times the share of the question's terms in that sentence's passage or in the answer",
    "match": "share of the question's terms in that sentence",
    "best_match": "share of the question's terms in the passage that matches it best",
    "echo": "share of the question's terms in the answer",
    "novelty": "share of the answer's terms that are not in the question",
    "reading": "share of the terms of the fine-tuned reader's own answer, from the passage that matches best",
}
"""Terms are weighted by their inverse document frequency."""
