"""Continuous batching: equal answers to the batched loop, with any number of waiting prompts."""

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.continuous import respond_continuously
from pipelines.inference.generation import respond_to
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

BLOCKS = 6  # fewer than prompts: some must wait
PROMPTS = [[5 + at, *range(40, 44 + at % 7), 9] for at in range(12)]


@pytest.fixture(scope="module")
def speaker() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model that answers every prompt differently."""
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12
    return model, tok


def test_greedy_answers_match_the_batched_loop(speaker: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    model, tok = speaker
    stop = tok.eos_token_id
    found = {each[0]: each[1:] for each in respond_continuously(model, PROMPTS, [stop], 9, None, 0, BLOCKS)}
    plain = {each[0]: each[1:] for each in respond_to(model, tok, PROMPTS, set(range(12)), 9, None, 4, seed=0)}
    assert found.keys() == plain.keys() == set(range(12))
    assert len({tuple(tokens) for tokens, _ in plain.values()}) > 1
    assert all(found[place][0] == plain[place][0] for place in plain)
    assert all(found[place][1] == pytest.approx(plain[place][1], rel=1e-3) for place in plain)


def test_answers_end_with_the_stop_token(speaker: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    model, tok = speaker
    first = next(tokens for _, tokens, _ in respond_to(model, tok, PROMPTS[:1], {0}, 9, None, 4, 0))
    found = list(respond_continuously(model, PROMPTS[:1], [first[1]], 9, None, 0, BLOCKS))
    assert [tokens for _, tokens, _ in found] == [first[: first.index(first[1]) + 1]]


def test_sampled_answers_vary_and_have_no_probability(speaker: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    model, tok = speaker
    found = list(respond_continuously(model, [PROMPTS[0]] * 8, [tok.eos_token_id], 9, 2.0, 3, BLOCKS))
    assert len({tuple(tokens) for _, tokens, _ in found}) > 1
    assert {certainty for *_, certainty in found} == {None}
