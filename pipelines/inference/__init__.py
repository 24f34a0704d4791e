"""Answers from a model: batched greedy decoding, sampling, beam search and continuous batching."""
