"""Canonical chat templates, stop tokens and padding: thinking, dates, system messages, marks, and bad input."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from pipelines.inference.generation import respond
from pipelines.inference.likelihood import loglikelihoods
from pipelines.models import chat, loading, saving
from pipelines.models.templates import stops
from pipelines.runtime.errors import UserError
from pipelines.training.examples import encode_chat
from tests.support.families import CHAT, SYSTEM, fetched, learnt, settings, written

pytestmark = pytest.mark.slow


def test_thinking_is_off_in_prompts_and_rows_alike(tmp_path: Path) -> None:
    _, _, tok = fetched("qwen3", tmp_path)
    empty = "<think>\n\n</think>\n\n"
    assert tok.decode(chat.encode_prompt(tok, CHAT[:3])).endswith(empty)
    assert tok.decode(encode_chat(tok, CHAT).ids).count(empty) == 2
    assert tok.apply_chat_template(CHAT[:3], tokenize=False, add_generation_prompt=True).count(empty) == 2
    assert stops.without_thoughts(tok, "<think> so") == "<think> so"


def test_thinking_is_on_if_asked_and_no_part_of_the_answer(tmp_path: Path) -> None:
    _, _, tok = fetched("qwen3", tmp_path, thinking=True)
    assert tok.decode(chat.encode_prompt(tok, CHAT[:1])).endswith("assistant\n")
    assert stops.without_thoughts(tok, "<think>\nIn May?\n</think>\n\nSince May.") == "Since May."
    with pytest.raises(UserError, match=r"base.thinking is true, but the chat template has no switch"):
        fetched("phi-4", tmp_path, thinking=True)


def test_dates_in_prompts_are_constant(tmp_path: Path) -> None:
    _, _, llama = fetched("llama-3.2", tmp_path / "llama")
    _, _, granite = fetched("granite", tmp_path / "granite")
    assert "Today Date: 26 Jul 2024" in llama.decode(chat.encode_prompt(llama, CHAT[:1]))
    assert "Today's Date: July 26, 2024" in granite.decode(chat.encode_prompt(granite, CHAT[:1]))


@pytest.mark.parametrize(("family", "folded"), [("gemma-2", True), ("mistral", True), ("gemma-3", False)])
def test_missing_system_role_is_noted_once(
    family: str, folded: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, tok = fetched(family, tmp_path)
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("the chat template has no system role") == folded
    assert "Be brief.\n\nWho keeps the light?" in tok.decode(chat.encode_prompt(tok, [SYSTEM, *CHAT[:1]]))


def test_only_marked_text_and_the_end_of_turn_are_learnt(tmp_path: Path) -> None:
    marked = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}Answer: "
        "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    _, _, tok = fetched("phi-4", tmp_path, marked)
    runs = [tok.decode(run) for run in learnt(encode_chat(tok, CHAT))]
    assert runs == ["Orla Finch<|im_end|>", "Since May.<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}", "writes no end of turn"),
        ("{% for m in messages %}{{ m['content'] }}", "cannot render a conversation of user, "),
        ("{{ raise_exception('No chat.') }}", "cannot render a conversation of user, .*No chat."),
    ],
)
def test_template_that_cannot_be_learnt_raises(template: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        fetched("phi-4", tmp_path, template)


def test_answer_that_is_not_behind_its_prompt_raises(tmp_path: Path) -> None:
    forgetful = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and loop.last %}!{% endif %}"
        "{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n!{% endif %}"
    )
    _, _, tok = fetched("phi-4", tmp_path, forgetful)
    assert learnt(encode_chat(tok, CHAT[:2]))
    with pytest.raises(UserError, match="does not render a conversation as its prompts and answers in turn"):
        encode_chat(tok, CHAT)


def test_token_without_embedding_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tokenizer has a token with the number 599, but the model has only 590"):
        fetched("llama-2", tmp_path, vocab_size=590)


def test_special_token_without_embedding_is_allowed_if_it_is_never_written(tmp_path: Path) -> None:
    """Gemma 3's text models have no embedding for its image token."""
    directory = written("gemma-3", tmp_path, vocab_size=600)
    tok = PreTrainedTokenizerFast.from_pretrained(directory)
    tok.add_tokens("<image_soft_token>", special_tokens=True)
    tok.save_pretrained(directory)
    model, tok = loading.fetch(settings(directory), "base.model", torch.float32)
    assert len(tok) == 601 == model.get_input_embeddings().num_embeddings + 1


def test_end_of_turn_becomes_special_and_is_no_text_of_an_answer(tmp_path: Path) -> None:
    """DeepSeek's and other tokenizers have control tokens that are not special."""
    directory = written("llama-2", tmp_path, vocab_size=601)
    tok = PreTrainedTokenizerFast.from_pretrained(directory)
    tok.add_tokens("<|turn|>")
    tok.chat_template = "{% for m in messages %}{{ m['content'] }}<|turn|>{% endfor %}"
    tok.save_pretrained(directory)
    assert tok.decode([600], skip_special_tokens=True) == "<|turn|>"
    model, tok = loading.fetch(settings(directory), "base.model", torch.float32)
    assert stops.stop_ids(model, tok) == [2, 600]
    saving.save_whole(model, tok, tmp_path / "base")
    assert stops.answer_text(loading.tokenizer(tmp_path / "base"), [600]) == ""


@pytest.mark.parametrize(("rows", "after"), [(600, 601), (640, 640)])
def test_padding_token_is_added_if_all_others_are_in_use(rows: int, after: int, tmp_path: Path) -> None:
    directory = written("llama-2", tmp_path, vocab_size=rows)
    tok = PreTrainedTokenizerFast.from_pretrained(directory)
    tok.unk_token = "<s>"
    tok.save_pretrained(directory)
    model, tok = loading.fetch(settings(directory), "base.model", torch.float32)
    assert tok.pad_token == "<|pad|>"
    assert model.get_input_embeddings().num_embeddings == after


@pytest.mark.parametrize("family", ["gemma-2", "gemma-3", "mistral"])
def test_shared_prefix_decodes_as_alone_beyond_the_sliding_window(family: str, tmp_path: Path) -> None:
    uncapped: dict[str, Any] = {"final_logit_softcapping": None} if family == "gemma-2" else {}
    _, model, tok = fetched(family, tmp_path, sliding_window=24, **uncapped)
    torch.nn.init.normal_(model.get_input_embeddings().weight, generator=torch.Generator().manual_seed(1))
    model.eval()
    passage = chat.encode_text(tok, "The bell is rung twice before the sluice is opened. " * 3)
    asked = ("Who?", "Who opens the sluice, and at which hour of the day?")
    prompts = [[*passage, *chat.encode_text(tok, text)] for text in asked]
    together = dict(respond(model, tok, prompts, [tok.eos_token_id], 12, None, 4))
    choices = [[chat.encode_text(tok, text) for text in ("Orla Finch", "The keeper of the light in May")]] * 2
    shared = dict(loglikelihoods(model, tok, prompts, choices, 8))
    for place, prompt in enumerate(prompts):
        alone = [*prompt]
        with torch.inference_mode():
            for token in together[place]:
                assert token == model(torch.tensor([alone])).logits[0, -1].argmax()
                alone.append(token)
            for choice, score in zip(choices[place], shared[place], strict=True):
                likely = model(torch.tensor([[*prompt, *choice]])).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
                exact = likely.gather(1, torch.tensor(choice)[:, None]).sum().item()
                assert score == pytest.approx(exact, abs=1e-2)
