"""Beam search, compared with the implementation in transformers, and with pruning prompt by prompt over lists."""

import math

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.beam_search import Beams, search
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

PROMPTS = [[5, 6, 7], [9, 8, 7, 6, 5], [4, 4], *([*range(30, 50), last] for last in range(4))]


def _model(tok: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a random model whose next tokens are not all equally likely."""
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12
    return model


def _stops(tok: PreTrainedTokenizerBase) -> list[int]:
    return [*range(0, len(tok), 9)]  # so that some answers end early


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beam_search_matches_transformers(penalty: float) -> None:
    tok = tiny_tokenizer()
    model, prompts, stops = _model(tok), PROMPTS, _stops(tok)
    results = list(search(model, tok, prompts, stops, 8, Beams(3, penalty, math.inf), batch_size=4))
    found = {place: tokens for place, tokens, _ in results}
    settings = {"do_sample": False, "num_beams": 3, "length_penalty": penalty, "early_stopping": True}
    for place, prompt in enumerate(prompts):
        with torch.inference_mode():
            output = model.generate(
                torch.tensor([prompt]), max_new_tokens=8, eos_token_id=stops, pad_token_id=0, **settings
            )
        said = output[0, len(prompt) :].tolist()
        assert found[place] == said[: next((at + 1 for at, each in enumerate(said) if each in stops), len(said))]
    assert len({len(answer) for answer in found.values()}) > 1
    for place, tokens, likelihood in results:
        with torch.inference_mode():
            likely = model(torch.tensor([[*prompts[place], *tokens]])).logits[0, len(prompts[place]) - 1 : -1]
        expected = float(likely.log_softmax(-1)[range(len(tokens)), tokens].sum())
        assert likelihood == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0, 50.0])
def test_pruned_search_matches_a_search_prompt_by_prompt_over_lists(threshold: float) -> None:
    tok = tiny_tokenizer()
    model, stops = _model(tok), _stops(tok)
    found = {place: ids for place, ids, _ in search(model, tok, PROMPTS, stops, 8, Beams(3, 1.0, threshold), 4)}
    assert found == {place: _pruned(model, prompt, stops, 8, 3, threshold) for place, prompt in enumerate(PROMPTS)}


def test_a_threshold_of_zero_is_greedy_and_an_infinite_one_is_not() -> None:
    tok = tiny_tokenizer()
    model, stops = _model(tok), _stops(tok)

    def answers(threshold: float, width: int = 3) -> list[list[int]]:
        return [ids for _, ids, _ in sorted(search(model, tok, PROMPTS, stops, 8, Beams(width, 1.0, threshold), 4))]

    assert answers(0.0) == answers(math.inf, width=1) != answers(math.inf)


def _pruned(
    model: PreTrainedModel, prompt: list[int], stops: list[int], limit: int, width: int, threshold: float
) -> list[int]:
    """Return the best answer of a beam search with relative threshold pruning, without a batch and a cache."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    while beams and len(finished) < width:
        continued = []
        for total, ids in beams:
            with torch.inference_mode():
                likely = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].log_softmax(-1).tolist()
            continued += [(total + each, [*ids, token]) for token, each in enumerate(likely)]
        continued.sort(reverse=True)
        best = max(total for total, _ in [*finished, continued[0]])
        continued = [each for each in continued if each[0] >= best - threshold]
        finished += [each for each in continued[:width] if each[1][-1] in stops or len(each[1]) == limit]
        beams = [each for each in continued if each[1][-1] not in stops and len(each[1]) < limit][:width]
    return max((total / len(ids), ids) for total, ids in finished)[1]


def test_a_model_with_undefined_outputs_still_answers_every_prompt() -> None:
    tok = tiny_tokenizer()
    model = _model(tok)
    model.lm_head.weight.data[:] = math.nan
    assert {place for place, _, _ in search(model, tok, PROMPTS, [0], 4, Beams(3, 1.0, 4.0), 4)} == set(
        range(len(PROMPTS))
    )
