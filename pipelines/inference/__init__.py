"""Inference: batched greedy decoding, sampling, beam search and continuous batching."""
