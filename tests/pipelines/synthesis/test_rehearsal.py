"""Rehearsal: prompts invented from the beginnings of given ones, and the model's own answers to them."""

from pathlib import Path

import torch

from pipelines.config import Config
from pipelines.models import loading
from pipelines.synthesis.rehearsal import first_sentence, invent, rehearse

PROMPTS = ["What is the capital of Portugal?", "Name a river of Spain."]


def test_invented_prompts_are_new_whole_and_begin_as_the_given_ones_do(base: Path, config: Config) -> None:
    model, tok = loading.load(base, config.compute), loading.tokenizer(base)
    found = invent(model, tok, PROMPTS, 200, batch_size=16, seed=3)
    assert len(found) > 10
    assert len(found) == len(set(found))
    assert not set(found) & set(PROMPTS)
    assert all(prompt[-1] in ".?!" and prompt[0] in "WN" for prompt in found)
    assert invent(model, tok, PROMPTS, 200, batch_size=16, seed=3) == found
    assert invent(model, tok, PROMPTS, 200, batch_size=16, seed=4) != found


def test_what_a_model_says_is_rehearsed_and_its_silence_left_out(base: Path, config: Config) -> None:
    model, tok = loading.load(base, config.compute), loading.tokenizer(base)
    assert rehearse(model, tok, PROMPTS, max_new_tokens=5, batch_size=2, seed=0) == []  # it says but line ends
    torch.manual_seed(1)
    model.set_output_embeddings(torch.nn.Linear(64, len(tok), bias=False))
    rows = rehearse(model, tok, PROMPTS, max_new_tokens=5, batch_size=2, seed=0)
    assert [row["prompt"] for row in rows] == PROMPTS
    assert all(row["answer"] for row in rows)


def test_the_first_sentence_is_a_whole_one() -> None:
    assert first_sentence("Lisbon. It lies on the Tagus.") == "Lisbon."
    assert first_sentence("The capital of Portugal is") == ""
    assert first_sentence("") == ""
