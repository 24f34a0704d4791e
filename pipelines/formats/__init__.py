"""Conversion of conversations and preference pairs to and from TRL, ShareGPT, Alpaca and Llama 2 formats."""
