"""Model families as tiny random models of their architectures, with their special tokens and published chat templates.

TRL ships some of the templates; tests/data/chat_templates has the others, without their branches for tools.
"""

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from pipelines.models import loading
from pipelines.models.config import BaseModelConfig
from pipelines.models.messages import Message
from pipelines.training.examples import IGNORED, Example
from tests.conftest import ROOT, SENTENCES

TRL = Path(str(distribution("trl").locate_file("trl/chat_templates")))
OWN = ROOT / "tests/data/chat_templates"
CHATML = ROOT / "data/chatml.jinja"
SYSTEM: Message = {"role": "system", "content": "Be brief."}
CHAT: list[Message] = [
    {"role": "user", "content": "Who keeps the light?"},
    {"role": "assistant", "content": "Orla Finch"},
    {"role": "user", "content": "Since when?"},
    {"role": "assistant", "content": "Since May."},
]


@dataclass(frozen=True)
class Family:
    """What its tokenizer and its configuration say, before `fetch`."""

    config: str
    template: Path | None
    special: list[str]
    end: str
    eos: str
    bos: str | None = None
    pad: str | None = None
    unk: str | None = None
    stops: list[str] = field(default_factory=list)
    """The generation config's stop tokens, if it names more than EOS."""
    begins: list[str] = field(default_factory=list)
    """Tokens that the tokenizer puts in front of a text."""
    spaces: bool = False
    """Whether the tokenizer writes spaces as SentencePiece does."""
    before: str = ""
    after: str = ""
    """Text around an answer that is learnt with it."""
    replacement: Path | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] | None = None
    """What a model that also reads images has beside the configuration of its text part."""
    document_end: str | None = None


LLAMA3 = [
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
PHI3 = [
    *("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|system|>"),
    *("<|end|>", "<|user|>"),
]
PHI4 = ["<|endoftext|>", "<|dummy_0|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"]
GRANITE = ["<|end_of_text|>", "<fim_pad>", "<|start_of_role|>", "<|end_of_role|>"]
GLM = ["<|endoftext|>", "[MASK]", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
LLAMA = ["<unk>", "<s>", "</s>"]
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIGLIP = {"vision_config": {**TOWER, "image_size": 28, "patch_size": 14}, "mm_tokens_per_image": 4}
QWEN_TOWER = {"hidden_size": 16, "intermediate_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 32}
DELTA = {"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 2}
DELTA |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
MAMBA = {"layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 48}
MAMBA |= {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}


def llama3(template: str) -> Family:
    return Family(
        *("LlamaConfig", TRL / template, LLAMA3, "<|eot_id|>", "<|eot_id|>", "<|begin_of_text|>"),
        stops=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
        begins=["<|begin_of_text|>"],
        document_end="<|end_of_text|>",
    )


def qwen(version: int) -> Family:
    return Family(
        *(f"Qwen{version}Config", TRL / ("qwen2_5.jinja" if version == 2 else "qwen3.jinja"), QWEN, "<|im_end|>"),
        *("<|im_end|>", None, "<|endoftext|>"),
        stops=["<|im_end|>", "<|endoftext|>"],
        document_end="<|endoftext|>",
    )


def gemma(config: str, template: str, images: dict[str, Any] | None = None) -> Family:
    return Family(
        *(config, TRL / template, GEMMA, "<end_of_turn>", "<eos>", "<bos>", "<pad>", "<unk>"),
        stops=["<eos>", "<end_of_turn>"],
        begins=["<bos>"],
        spaces=True,
        extra={"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention", "full_attention"]},
        images=images,
        document_end="<eos>",
    )


FAMILIES = {
    "llama-3.1": llama3("llama3_1.jinja"),
    "llama-3.2": llama3("llama3_2.jinja"),
    "qwen2.5": qwen(2),
    "qwen3": qwen(3),
    "qwen3.5": Family(
        *("Qwen3_5Config", TRL / "qwen3_5_nothink.jinja", QWEN, "<|im_end|>", "<|im_end|>", None, "<|endoftext|>"),
        stops=["<|im_end|>", "<|endoftext|>"],
        document_end="<|endoftext|>",
        extra=DELTA,
        images={"vision_config": {**QWEN_TOWER, "num_position_embeddings": 16}},
    ),
    "gemma-2": gemma("Gemma2Config", "gemma.jinja"),
    "gemma-3": gemma("Gemma3TextConfig", "gemma3.jinja"),
    "gemma-3-vision": gemma("Gemma3Config", "gemma3.jinja", SIGLIP),
    "mistral": Family(
        *("MistralConfig", OWN / "mistral.jinja", [*LLAMA, "[INST]", "[/INST]"], "</s>", "</s>", "<s>", None, "<unk>"),
        begins=["<s>"],
        spaces=True,
        before=" ",
        document_end="</s>",
    ),
    "llama-2": Family(
        *("LlamaConfig", OWN / "llama2.jinja", LLAMA, "</s>", "</s>", "<s>", None, "<unk>"),
        begins=["<s>"],
        spaces=True,
        before=" ",
        after=" ",
        document_end="</s>",
    ),
    "phi-3": Family(
        *("Phi3Config", TRL / "phi3.jinja", PHI3, "<|end|>", "<|endoftext|>", "<s>", "<|endoftext|>", "<unk>"),
        stops=["<|endoftext|>", "<|assistant|>", "<|end|>"],
        spaces=True,
        document_end="<|endoftext|>",
    ),
    "phi-4": Family(
        *(
            "Phi3Config",
            OWN / "phi4.jinja",
            PHI4,
        ),
        *("<|im_end|>", "<|im_end|>", "<|endoftext|>", "<|dummy_0|>"),
        document_end="<|endoftext|>",
    ),
    "glm-4": Family(
        *("GlmConfig", OWN / "glm4.jinja", GLM, "<|user|>", "<|endoftext|>", None, "<|endoftext|>"),
        stops=["<|endoftext|>", "<|user|>", "<|observation|>"],
        begins=["[gMASK]", "<sop>"],
        before="\n",
        document_end="<|endoftext|>",
    ),
    "granite": Family(
        *("GraniteConfig", OWN / "granite.jinja", GRANITE),
        *("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
        document_end="<|end_of_text|>",
    ),
    "granite-4-hybrid": Family(
        *("GraniteMoeHybridConfig", OWN / "granite.jinja", GRANITE),
        *("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
        document_end="<|end_of_text|>",
        extra=MAMBA,
    ),
    "smollm": Family(
        *("LlamaConfig", OWN / "smollm2.jinja", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|im_end|>"),
        *("<|im_end|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    ),
    "base-without-chat-tokens": Family(
        *("LlamaConfig", None, LLAMA, "</s>", "</s>", "<s>", None, "<unk>"),
        begins=["<s>"],
        spaces=True,
        replacement=CHATML,
        document_end="</s>",
    ),
    "base-with-chat-tokens": Family(
        *("Qwen2Config", None, QWEN, "<|im_end|>", "<|endoftext|>", None, "<|endoftext|>"),
        replacement=CHATML,
        document_end="<|endoftext|>",
    ),
}


@cache
def trained(family: str) -> str:
    own = FAMILIES[family]
    raw = Tokenizer(models.BPE(unk_token=None, byte_fallback=own.spaces))
    if own.spaces:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet, special = ["▁"], [*own.special, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet, special = pre_tokenizers.ByteLevel.alphabet(), own.special
    options: dict[str, Any] = {"special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    trainer = trainers.BpeTrainer(vocab_size=600, **options)
    raw.train_from_iterator([word for line in SENTENCES for word in line.split(" ")], trainer)
    if own.begins:
        raw.post_processor = processors.TemplateProcessing(
            single=f"{' '.join(own.begins)} $A", special_tokens=[(name, raw.token_to_id(name)) for name in own.begins]
        )
    return str(raw.to_str())


def configuration(own: Family, **changes: Any) -> PreTrainedConfig:
    """Return the configuration of a tiny model of the family."""
    text = {
        **{"hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
        "head_dim": 16,
        "max_position_embeddings": 512,
        **own.extra,
        **changes,
    }
    kind = getattr(transformers, own.config)
    config: PreTrainedConfig = kind(**text) if own.images is None else kind(text_config=text, **own.images)
    return config


def written(family: str, out: Path, template: Path | None = None, **changes: Any) -> Path:
    """Write the family's model as its publisher would."""
    own = FAMILIES[family]
    tokens = {"bos_token": own.bos, "eos_token": own.eos, "pad_token": own.pad, "unk_token": own.unk}
    tok = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained(family)), **{name: token for name, token in tokens.items() if token}
    )
    tok.add_special_tokens({"extra_special_tokens": own.special})
    if chosen := template or own.template:
        tok.chat_template = chosen.read_text()
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    tokens_of = {"vocab_size": len(tok), **{name: getattr(tok, name) for name in names}}
    config = configuration(own, **(tokens_of | changes))
    torch.manual_seed(0)
    model = (AutoModelForCausalLM if own.images is None else AutoModelForImageTextToText).from_config(config)
    model.generation_config.eos_token_id = tok.convert_tokens_to_ids(own.stops or [own.eos])
    model.save_pretrained(out)
    tok.save_pretrained(out)
    return out


def settings(directory: Path, replacement: Path | None = None, thinking: bool = False) -> BaseModelConfig:
    named: dict[str, Any] = {"model": str(directory), "chat_template": replacement, "thinking": thinking}
    return BaseModelConfig(**named, quantization="none", trust_remote_code=False)


Loaded = tuple[Family, PreTrainedModel, PreTrainedTokenizerFast]


def fetched(family: str, out: Path, template: str | None = None, thinking: bool = False, **changes: Any) -> Loaded:
    """Write a family's model, with another template or configuration if given, and fetch it."""
    own, path = FAMILIES[family], None
    if template is not None:
        path = out / "template.jinja"
        path.write_text(template)
    directory = written(family, out / "raw", path, **changes)
    model, tok = loading.fetch(settings(directory, own.replacement, thinking), "base.model", torch.float32)
    return own, model, tok


def learnt(row: Example) -> list[list[int]]:
    """Return the runs of labelled tokens."""
    runs: list[list[int]] = [[]]
    for label in row.labels:
        runs[-1].append(label) if label != IGNORED else runs.append([])
    return [run for run in runs if run]
