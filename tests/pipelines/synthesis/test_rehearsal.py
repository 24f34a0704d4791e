"""Rehearsal: generated prompts and the base model's answers."""

from pathlib import Path

import pytest
import torch

from pipelines.config import Config
from pipelines.models import loading
from pipelines.synthesis.rehearsal import first_sentence, invent, rehearse

pytestmark = pytest.mark.slow

PROMPTS = ["What is the capital of Portugal?", "Name a river of Spain."]


def test_generated_prompts_are_new_complete_and_begin_like_given_ones(base: Path, config: Config) -> None:
    model, tok = loading.load(base, config.compute), loading.tokenizer(base)
    found = invent(model, tok, PROMPTS, 200, batch_size=16, seed=3)
    assert len(found) > 10
    assert len(found) == len(set(found))
    assert not set(found) & set(PROMPTS)
    assert all(prompt[-1] in ".?!" and prompt[0] in "WN" for prompt in found)
    assert invent(model, tok, PROMPTS, 200, batch_size=16, seed=3) == found
    assert invent(model, tok, PROMPTS, 200, batch_size=16, seed=4) != found


def test_answers_are_rehearsed_and_empty_ones_left_out(base: Path, config: Config) -> None:
    model, tok = loading.load(base, config.compute), loading.tokenizer(base)
    assert rehearse(model, tok, PROMPTS, max_new_tokens=5, batch_size=2, seed=0) == []  # only line breaks
    torch.manual_seed(1)
    model.set_output_embeddings(torch.nn.Linear(64, len(tok), bias=False))
    rows = rehearse(model, tok, PROMPTS, max_new_tokens=5, batch_size=2, seed=0)
    assert [row["prompt"] for row in rows] == PROMPTS
    assert all(row["answer"] for row in rows)


def test_first_sentence_is_complete_or_empty() -> None:
    assert first_sentence("Lisbon. It lies on the Tagus.") == "Lisbon."
    assert first_sentence("The capital of Portugal is") == ""
    assert first_sentence("") == ""
