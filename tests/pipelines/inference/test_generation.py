"""Generation: prefix sharing does not change answers, and the minimum token probability is reported."""

import pytest
import torch

from pipelines.inference.generation import _choose, generate, respond_to
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow


def test_prefix_sharing_does_not_change_answers() -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12  # otherwise a random model only repeats its last token
    passage = (
        "The council of the island meets on the first Monday of each month in the old salt house by the harbour wall."
    )
    questions = ["When does it meet?", "Where does the council of the island meet each month, and why?", "Who?"]
    chats = [[{"role": "user", "content": f"{passage}\n\nQuestion: {question}"}] for question in questions]
    chats.append([{"role": "user", "content": "Something else"}])
    together = generate(model, tok, chats, max_new_tokens=12, temperature=None, batch_size=4, seed=0, what="test")
    alone = []
    for chat in chats:
        inputs = tok.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        alone.append(tok.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    assert together == alone
    assert len(set(together)) > 1


def test_tokens_are_sampled_from_the_distribution_at_the_temperature() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, -50.0, 2.0, 0.5]])
    drawn = _choose(logits.expand(100_000, -1), 0.7)
    frequencies = drawn.bincount(minlength=5) / len(drawn)
    assert torch.allclose(frequencies, (logits[0] / 0.7).softmax(-1), atol=0.005)
    assert frequencies[2] == 0
    assert _choose(logits, None).tolist() == [3]


def test_certainty_is_the_minimum_token_probability() -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    prompts = [[5, 6, 7], [9, 8, 7, 6, 5], [4, 4]]
    for place, tokens, certainty in respond_to(model, tok, prompts, {0, 1, 2}, 5, 0.9, 4, seed=1):
        whole = torch.tensor([[*prompts[place], *tokens]])
        with torch.inference_mode():
            shares = model(input_ids=whole).logits[0].softmax(-1)
        at = range(len(prompts[place]), whole.shape[1])
        likely = [float(shares[each - 1, whole[0, each]]) for each in at]
        assert min(likely) == pytest.approx(certainty, rel=1e-3)
