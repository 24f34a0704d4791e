"""Beam search, compared with the implementation in transformers."""

import pytest
import torch

from pipelines.inference.beam_search import search
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beam_search_matches_transformers(penalty: float) -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12
    prompts = [[5, 6, 7], [9, 8, 7, 6, 5], [4, 4], *([*range(30, 50), last] for last in range(4))]
    stops = [*range(0, len(tok), 9)]  # so that some answers end early
    results = list(search(model, tok, prompts, stops, 8, beams=3, length_penalty=penalty, batch_size=4))
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
