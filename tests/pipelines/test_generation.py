"""Generation: sharing the beginning of prompts changes no answer."""

import pytest
import torch

from pipelines.generation import Group, generate, respond_to, search, share
from tests.conftest import tiny_model, tiny_tokenizer


def test_prompts_that_begin_alike_are_grouped() -> None:
    passage = list(range(100, 130))
    prompts = [[*passage, 1, 2], [7, 8, 9], [*passage, 3]]
    groups = share(prompts, most=8)
    assert Group((0, 2), 30) in groups
    assert Group((1,), 2) in groups


def test_a_group_never_exceeds_a_batch() -> None:
    prompts = [[*range(100, 130), last] for last in range(5)]
    assert max(len(group.members) for group in share(prompts, most=2)) == 2


def test_shared_beginnings_change_no_answer() -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12  # else a random model only repeats its last token
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


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_beam_search_finds_what_transformers_finds(penalty: float) -> None:
    tok = tiny_tokenizer()
    model = tiny_model(tok).eval()
    for parameter in model.model.layers.parameters():
        parameter.data *= 12
    prompts = [[5, 6, 7], [9, 8, 7, 6, 5], [4, 4], *([*range(30, 50), last] for last in range(4))]
    stops = [*range(0, len(tok), 9)]  # so that some answers end early
    found = dict(search(model, tok, prompts, stops, 8, beams=3, length_penalty=penalty, batch_size=4))
    settings = {"do_sample": False, "num_beams": 3, "length_penalty": penalty, "early_stopping": True}
    for place, prompt in enumerate(prompts):
        with torch.inference_mode():
            output = model.generate(
                torch.tensor([prompt]), max_new_tokens=8, eos_token_id=stops, pad_token_id=0, **settings
            )
        said = output[0, len(prompt) :].tolist()
        assert found[place] == said[: next((at + 1 for at, each in enumerate(said) if each in stops), len(said))]
    assert len({len(answer) for answer in found.values()}) > 1


def test_the_certainty_of_an_answer_is_its_least_likely_tokens_probability() -> None:
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
