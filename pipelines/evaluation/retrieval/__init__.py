"""Retrieval: passages of the documents by BM25, answers from them, and sentences that support an answer."""
