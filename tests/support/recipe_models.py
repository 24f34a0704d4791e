"""Tiny random models of the architectures that the recipes name, with the chat templates of their families."""

from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.conftest import ROOT, trained_bpe
from tests.support.model_shapes import SHAPES

LLAMA = {
    "<|endoftext|>": "<|begin_of_text|>",
    "<|im_start|>": "<|start_header_id|>",
    "<|im_end|>": "<|eot_id|>",
}
LLAMA2 = {"<|endoftext|>": "<unk>", "<|im_start|>": "<s>", "<|im_end|>": "</s>"}
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def tokenizer(model: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with 600 tokens, and the special tokens and the chat template of the family of `model`."""
    trained = trained_bpe()
    if "Llama-2" in model:
        for old, new in LLAMA2.items():
            trained = trained.replace(old, new)
        tok = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(trained), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        )
        tok.chat_template = (ROOT / "tests/data/chat_templates/llama2.jinja").read_text()
        return tok
    if "llama" in model:
        for old, new in LLAMA.items():
            trained = trained.replace(old, new)
        tok = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(trained), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
        )
        tok.add_tokens(["<|end_header_id|>", "<|finetune_right_pad_id|>"], special_tokens=True)
        tok.chat_template = (TEMPLATES / "llama3_1.jinja").read_text()
        return tok
    tok = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    if "Qwen3" in model:
        tok.add_tokens(["<think>", "</think>"])
        tok.chat_template = (TEMPLATES / "qwen3.jinja").read_text()
    else:
        tok.chat_template = (ROOT / "data/chatml.jinja").read_text()
    return tok


def save_tiny(model: str, directory: Path) -> None:
    """Save a random model of the architecture of `model`, two layers of width 64, with its tokenizer."""
    torch.manual_seed(0)
    tok = tokenizer(model)
    config: Any = SHAPES[model]()
    small = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"vocab_size": len(tok), "eos_token_id": tok.eos_token_id}
    changes = {**small, **tokens, "head_dim": 16, "num_hidden_layers": 2, "layer_types": None}
    values = {**config.to_dict(), **changes}
    AutoModelForCausalLM.from_config(type(config)(**values)).save_pretrained(directory)
    tok.save_pretrained(directory)
