"""Faster training of Llama models with LoRA on a CPU."""
