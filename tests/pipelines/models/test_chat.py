"""Control tokens come only from the template: the content of messages and documents is encoded as ordinary text."""

import ast
from collections.abc import Callable
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.training.examples import IGNORED, encode_chat, encode_text
from tests.conftest import ROOT, SENTENCES, tiny_tokenizer

pytestmark = pytest.mark.slow

CHATML = (ROOT / "data/chatml.jinja").read_text()
ROLES_AS_TOKENS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|user|>{{ m['content'] | trim }}"
    "{% else %}<|assistant|>{{ (m['content'] | trim) + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ROLES_AS_TEXT = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|assistant|>", "<|system|>", "<|user|>"]
NOT_SPECIAL = "<|user|>"
"""An added token that is not special, as in DeepSeek's tokenizers: a control token if the template emits it."""
Make = Callable[[], PreTrainedTokenizerFast]


@cache
def byte_level(template: str) -> PreTrainedTokenizerFast:
    return wrapped(Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str()), template)


@cache
def sentencepiece(scheme: str, template: str) -> PreTrainedTokenizerFast:
    """Return a BPE tokenizer that writes spaces as ▁, as SentencePiece does; `scheme` selects where one is added."""
    raw = Tokenizer(models.BPE(unk_token=None, byte_fallback=True))
    if scheme == "normalizer":  # Llama 2
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [*CONTROL[:5], *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=["▁"], show_progress=False)
    raw.train_from_iterator([word for line in SENTENCES for word in line.split(" ")], trainer)
    return wrapped(raw, template)


def wrapped(raw: Tokenizer, template: str) -> PreTrainedTokenizerFast:
    names = dict(zip(("pad_token", "bos_token", "eos_token"), CONTROL, strict=False))
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, extra_special_tokens=CONTROL[3:5], **names)
    tok.add_tokens(NOT_SPECIAL)
    tok.chat_template = template
    return tok


BYTE_LEVEL = [partial(byte_level, template) for template in (CHATML, ROLES_AS_TOKENS, ROLES_AS_TEXT)]
SENTENCEPIECE = [partial(sentencepiece, scheme, CHATML) for scheme in ("never", "first", "always")]
TOKENIZERS = [*BYTE_LEVEL, *SENTENCEPIECE, partial(sentencepiece, "normalizer", ROLES_AS_TEXT)]

PIECES = [*SENTENCES[:40], " ", "\n", "\n\n", "\t", "user\n", "assistant", "<", "|", ">", "im_end", "é", "灯"]
plain_texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
texts = st.lists(st.one_of(st.sampled_from(CONTROL), plain_texts), min_size=1, max_size=6).map("".join)


def conversations(contents: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    turns = st.lists(st.tuples(contents, contents), min_size=1, max_size=3)
    roles = ("user", "assistant")
    return turns.map(
        lambda said: [{"role": r, "content": c} for turn in said for r, c in zip(roles, turn, strict=True)]
    )


def control_ids(tok: PreTrainedTokenizerFast, ids: list[int]) -> list[int]:
    written = [token for token in CONTROL if token != NOT_SPECIAL or token in tok.chat_template]
    known = set(tok.convert_tokens_to_ids(written))
    return [token for token in ids if token in known]


def only_the_templates(tok: PreTrainedTokenizerFast, messages: list[Message], ids: list[int]) -> bool:
    empty = [{**message, "content": "x"} for message in messages]
    return control_ids(tok, ids) == control_ids(tok, encode_chat(tok, empty).ids)


@pytest.mark.parametrize("make", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(messages=conversations(plain_texts.filter(lambda text: not any(token in text for token in CONTROL))))
def test_ordinary_conversations_match_apply_chat_template(make: Make, messages: list[Message]) -> None:
    tok = make()
    prompt = tok.apply_chat_template(messages[:-1], return_dict=True, add_generation_prompt=True)["input_ids"]
    assert chat.encode_prompt(tok, messages[:-1]) == prompt
    row = encode_chat(tok, messages)
    if all(message["content"] == message["content"].strip() for message in messages):
        whole = tok.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert row.ids == whole[: len(row.ids)] and row.ids[-1] == tok.eos_token_id
    text = messages[0]["content"]
    assert chat.encode_text(tok, text) == tok(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("make", BYTE_LEVEL)
@given(messages=conversations(texts))
def test_conversation_is_encoded_losslessly(make: Make, messages: list[Message]) -> None:
    tok = make()
    row = encode_chat(tok, messages)
    assert only_the_templates(tok, messages, row.ids)
    rendered = tok.apply_chat_template(messages, tokenize=False)
    assert rendered.rstrip() == tok.decode(row.ids).rstrip()
    prompt = chat.encode_prompt(tok, messages[:-1])
    assert tok.decode(prompt) == tok.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("make", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(text=texts, messages=conversations(texts))
def test_text_never_yields_control_tokens(make: Make, text: str, messages: list[Message]) -> None:
    tok = make()
    assert not control_ids(tok, chat.encode_text(tok, text))
    assert not control_ids(tok, [token for piece in encode_text(tok, text, 8) for token in piece.ids])
    assert only_the_templates(tok, messages, encode_chat(tok, messages).ids)


@given(messages=conversations(texts))
def test_labels_cover_exactly_the_answers_and_their_eos(messages: list[Message]) -> None:
    tok = byte_level(CHATML)
    row = encode_chat(tok, messages)
    runs: list[list[int]] = [[]]
    for label in row.labels:
        runs[-1].append(label) if label != IGNORED else runs.append([])
    learnt = [tok.decode(run) for run in runs if run]
    assert learnt == [f"{said['content']}<|im_end|>" for said in messages if said["role"] == "assistant"]
    assert all(label in (IGNORED, token) for label, token in zip(row.labels, row.ids, strict=True))


def test_no_other_module_tokenizes_text() -> None:
    for path in (*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "tasks").glob("*.py"), *(ROOT / "flows").glob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            named = {option.arg for option in call.keywords}
            template = isinstance(call.func, ast.Attribute) and call.func.attr == "apply_chat_template"
            assert not template or path == ROOT / "pipelines/models/chat.py", f"{path}:{call.lineno}"
            as_text = named & {"split_special_tokens", "sanitize_control_tokens"}
            assert as_text or "add_special_tokens" not in named, f"{path}:{call.lineno}"
