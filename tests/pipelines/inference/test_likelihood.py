"""Log-likelihoods with a shared context equal those of whole sequences."""

import pytest
import torch

from pipelines.inference.likelihood import loglikelihoods
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

CONTEXTS = [[5, 9, 11, 40, 7], [8], [5, 9, 11, 40, 7, 20, 30, 31]]
CONTINUATIONS = [[[3], [4, 5, 6], [4, 5]], [[1, 2], [2]], [[10], [11], [12, 13, 14, 15], [12]]]


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_every_continuation_is_scored_as_in_its_whole_sequence(batch_size: int) -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    found = dict(loglikelihoods(model, tok, CONTEXTS, CONTINUATIONS, batch_size))
    assert sorted(found) == [0, 1, 2]
    for place, (context, continuations) in enumerate(zip(CONTEXTS, CONTINUATIONS, strict=True)):
        for score, continuation in zip(found[place], continuations, strict=True):
            with torch.no_grad():
                likely = model(torch.tensor([context + continuation])).logits[0].log_softmax(-1)
            expected = sum(float(likely[len(context) - 1 + at, each]) for at, each in enumerate(continuation))
            assert score == pytest.approx(expected, abs=1e-4)
