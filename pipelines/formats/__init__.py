"""Data sets in the formats of other tools: TRL, ShareGPT, Alpaca, Llama 2; preference pairs too."""
