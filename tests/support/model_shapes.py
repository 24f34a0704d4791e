"""Configurations with the shapes of published models, and measured memory, for tests of memory estimates."""

from collections.abc import Callable

import torch
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config


def qwen3(layers: int, width: int, intermediate: int, heads: int, tied: bool) -> PreTrainedConfig:
    """Return the shape of a dense Qwen3 model."""
    return Qwen3Config(
        vocab_size=151_936,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=tied,
    )


def llama(layers: int, width: int, intermediate: int, heads: int) -> PreTrainedConfig:
    """Return the shape of a Llama 3.1 model."""
    return LlamaConfig(
        vocab_size=128_256,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )


SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": lambda: LlamaConfig(
        vocab_size=49_152,
        num_hidden_layers=30,
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    ),
    "Qwen/Qwen3-0.6B": lambda: qwen3(28, 1024, 3072, 16, tied=True),
    "Qwen/Qwen3-4B": lambda: qwen3(36, 2560, 9728, 32, tied=True),
    "Qwen/Qwen3-8B": lambda: qwen3(36, 4096, 12_288, 32, tied=False),
    "meta-llama/Llama-2-7b-chat-hf": lambda: LlamaConfig(
        vocab_size=32_000,
        num_hidden_layers=32,
        hidden_size=4096,
        intermediate_size=11_008,
        num_attention_heads=32,
        num_key_value_heads=32,
        tie_word_embeddings=False,
    ),
    "meta-llama/Llama-3.1-8B-Instruct": lambda: llama(32, 4096, 14_336, 32),
    "meta-llama/Llama-3.1-70B-Instruct": lambda: llama(80, 8192, 28_672, 64),
}

MEDIUM = LlamaConfig(
    vocab_size=4000,
    hidden_size=256,
    intermediate_size=896,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=2,
)
"""Small enough for tests to compute with it, and large enough that its tensors outweigh the rest."""


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that PyTorch's CPU allocator held beyond those before `work`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    found = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = most = 0
    for event in sorted(found, key=lambda each: each.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
