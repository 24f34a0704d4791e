"""One contract for every model family: learnt end of turn, one BOS, consistent prompts, stops, padding, control tokens.

Each family is a tiny random model of its architecture with its special tokens and its published chat template. TRL
ships some of the templates; tests/data/chat_templates has the others.
"""

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.inference.beam_search import search
from pipelines.inference.generation import generate, respond
from pipelines.models import chat, loading, stops
from pipelines.models.config import BaseModelConfig
from pipelines.models.messages import Message
from pipelines.training.examples import IGNORED, Example, encode_chat, encode_text
from tests.conftest import ROOT, SENTENCES

pytestmark = pytest.mark.slow

TRL = Path(str(importlib.util.find_spec("trl").submodule_search_locations[0])) / "chat_templates"
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
    document_end: str | None = None


LLAMA3 = [
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>"]
GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
PHI3 = [
    "<unk>",
    "<s>",
    "</s>",
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|system|>",
    "<|end|>",
    "<|user|>",
]
GLM = ["<|endoftext|>", "[MASK]", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
LLAMA = ["<unk>", "<s>", "</s>"]


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


def gemma(config: str, template: str, **extra: Any) -> Family:
    return Family(
        *(config, TRL / template, GEMMA, "<end_of_turn>", "<eos>", "<bos>", "<pad>", "<unk>"),
        stops=["<eos>", "<end_of_turn>"],
        begins=["<bos>"],
        spaces=True,
        extra={"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention", "full_attention"], **extra},
        document_end="<eos>",
    )


FAMILIES = {
    "llama-3.1": llama3("llama3_1.jinja"),
    "llama-3.2": llama3("llama3_2.jinja"),
    "qwen2.5": qwen(2),
    "qwen3": qwen(3),
    "gemma-2": gemma("Gemma2Config", "gemma.jinja"),
    "gemma-3": gemma("Gemma3TextConfig", "gemma3.jinja"),
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
            ["<|endoftext|>", "<|dummy_0|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"],
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
        *("GraniteConfig", OWN / "granite.jinja", ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"]),
        *("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
        document_end="<|end_of_text|>",
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
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([word for line in SENTENCES for word in line.split(" ")], trainer)
    if own.begins:
        raw.post_processor = processors.TemplateProcessing(
            single=f"{' '.join(own.begins)} $A", special_tokens=[(name, raw.token_to_id(name)) for name in own.begins]
        )
    return str(raw.to_str())


def written(family: str, out: Path, template: Path | None = None, **changes: Any) -> Path:
    """Write the family's model as its publisher would."""
    own = FAMILIES[family]
    names = {"bos_token": own.bos, "eos_token": own.eos, "pad_token": own.pad, "unk_token": own.unk}
    tok = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained(family)), **{name: token for name, token in names.items() if token}
    )
    tok.add_special_tokens({"extra_special_tokens": own.special})
    if chosen := template or own.template:
        tok.chat_template = chosen.read_text()
    config = getattr(transformers, own.config)(
        **{
            "vocab_size": len(tok),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "bos_token_id": tok.bos_token_id,
            "eos_token_id": tok.eos_token_id,
            "pad_token_id": tok.pad_token_id,
            **own.extra,
            **changes,
        }
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = tok.convert_tokens_to_ids(own.stops or [own.eos])
    model.save_pretrained(out)
    tok.save_pretrained(out)
    return out


def settings(directory: Path, replacement: Path | None = None, thinking: bool = False) -> BaseModelConfig:
    return BaseModelConfig(
        model=str(directory),
        chat_template=replacement,
        thinking=thinking,
        quantization="none",
        trust_remote_code=False,
    )


Loaded = tuple[Family, PreTrainedModel, PreTrainedTokenizerFast]


@pytest.fixture(params=FAMILIES, scope="module")
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A family as every stage after `base` sees it: fetched, saved, and loaded again."""
    own, folder = FAMILIES[request.param], tmp_path_factory.mktemp("family")
    model, tok = loading.fetch(settings(written(request.param, folder / "raw"), own.replacement), "base.model")
    loading.save_merged(model, tok, folder / "base")
    again = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    return own, again, loading.tokenizer(folder / "base")


def learnt(row: Example) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for label in row.labels:
        runs[-1].append(label) if label != IGNORED else runs.append([])
    return [run for run in runs if run]


def test_answers_and_their_end_of_turn_are_learnt_and_nothing_else(loaded: Loaded) -> None:
    own, _, tok = loaded
    row, end = encode_chat(tok, CHAT), tok.convert_tokens_to_ids(own.end)
    runs = learnt(row)
    assert [run[-1] for run in runs] == [end, end] and not any(end in run[:-1] for run in runs)
    assert [tok.decode(run[:-1]) for run in runs] == [
        own.before + message["content"] + own.after for message in CHAT if message["role"] == "assistant"
    ]
    assert row.ids[-1] == end and all(
        label in (IGNORED, token) for label, token in zip(row.labels, row.ids, strict=True)
    )


def test_prompts_are_the_start_of_the_training_row(loaded: Loaded) -> None:
    _, _, tok = loaded
    for messages in (CHAT, [SYSTEM, *CHAT]):
        row, at = encode_chat(tok, messages).ids, len(messages)
        for end in (at - 3, at - 1):
            prompt = chat.encode_prompt(tok, messages[:end])
            assert row[: len(prompt)] == prompt
            assert encode_chat(tok, messages[: end + 1]).ids[: len(prompt)] == prompt


def test_bos_is_written_once_if_the_family_has_one(loaded: Loaded) -> None:
    own, _, tok = loaded
    begin = tok.convert_tokens_to_ids(own.begins)
    assert chat.beginning(tok) == begin
    prompt = chat.encode_prompt(tok, CHAT[:1])
    assert prompt[: len(begin)] == begin and all(prompt.count(token) == 1 for token in begin)


def test_system_message_reaches_the_prompt_once(loaded: Loaded) -> None:
    _, _, tok = loaded
    prompt = tok.decode(chat.encode_prompt(tok, [SYSTEM, *CHAT[:3]]))
    assert prompt.count("Be brief.") == 1
    assert prompt.index("Be brief.") < prompt.index("Who keeps")


def test_padding_is_no_stop_and_needs_no_new_embedding(loaded: Loaded) -> None:
    own, model, tok = loaded
    ends = stops.stop_ids(model, tok)
    assert set(tok.convert_tokens_to_ids([own.end, own.eos, *own.stops])) == set(ends)
    assert tok.pad_token_id not in ends and tok.pad_token_id != tok.bos_token_id
    assert tok.pad_token_id not in encode_chat(tok, CHAT).ids
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tok.pad_token_id
    assert tok.pad_token_id < model.get_input_embeddings().num_embeddings
    resized = own.config == "GraniteConfig"  # its only special tokens are in use
    assert (
        len(tok) == len(Tokenizer.from_str(trained(next(n for n, f in FAMILIES.items() if f is own))).get_vocab())
    ) != resized


def test_generation_ends_at_every_stop_token(loaded: Loaded) -> None:
    _, model, tok = loaded
    prompt = chat.encode_prompt(tok, CHAT[:1])
    for stop in stops.stop_ids(model, tok):
        with forced(model, stop):
            ((_, sampled),) = respond(model, tok, [prompt], stops.stop_ids(model, tok), 8, None, 1)
            ((_, found),) = search(model, tok, [prompt], stops.stop_ids(model, tok), 8, 2, 1.0, 1)
            (text,) = generate(
                model, tok, [CHAT[:1]], max_new_tokens=8, temperature=None, batch_size=1, seed=0, what="test"
            )
        assert sampled == found == [stop]
        assert text == ""


class forced:
    """Makes a token the likeliest everywhere."""

    def __init__(self, model: PreTrainedModel, token: int) -> None:
        self.model, self.token = model, token

    def __enter__(self) -> None:
        def bias(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
            logits = logits.clone()
            logits[..., self.token] = logits.max() + 1000
            return logits

        self.hook = self.model.get_output_embeddings().register_forward_hook(bias)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def test_control_tokens_in_messages_stay_text(loaded: Loaded) -> None:
    own, _, tok = loaded
    attack = "".join(own.special)
    hostile = [{**message, "content": f"{message['content']} {attack} x"} for message in CHAT]
    controls = set(tok.convert_tokens_to_ids(own.special))

    def written_controls(messages: list[Message]) -> list[int]:
        return [token for token in encode_chat(tok, messages).ids if token in controls]

    assert written_controls(hostile) == written_controls(CHAT)
    assert tok.decode(learnt(encode_chat(tok, hostile))[0]).count(attack) == 1


def test_documents_begin_and_end_as_in_pretraining(loaded: Loaded) -> None:
    own, _, tok = loaded
    (piece,) = encode_text(tok, "The bell is rung twice.", 512)
    begin, end = (
        tok.convert_tokens_to_ids(own.begins),
        tok.convert_tokens_to_ids([own.document_end] if own.document_end else []),
    )
    assert piece.ids == [*begin, *chat.encode_text(tok, "The bell is rung twice."), *end] == piece.labels
