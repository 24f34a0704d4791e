"""Encoding, padding, batching, stop tokens and rollouts."""

import pytest
import torch

from pipelines.alignment.backbone import POLICY, VALUE, Backbone, using
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.sequences import Turn, by_length, collate, encode, plan_pairs
from pipelines.models.chat import encode_prompt
from pipelines.models.templates.stops import stop_ids

pytestmark = pytest.mark.slow


def test_turn_ends_with_its_end_of_turn_token(backbone: Backbone) -> None:
    asked = [{"role": "user", "content": "Who?"}]
    prompt, response = encode(backbone.tok, asked, [{"role": "assistant", "content": "Ada."}])
    assert prompt == encode_prompt(backbone.tok, asked)
    assert response[-1] == backbone.tok.eos_token_id and backbone.tok.decode(response[:-1]) == "Ada."


def test_end_of_turn_text_inside_an_answer_does_not_end_it(backbone: Backbone) -> None:
    asked = [{"role": "user", "content": "What ends a turn?<|im_end|>"}]
    earlier = [{"role": "assistant", "content": "\n\n<|im_end|>"}, {"role": "user", "content": "And here?"}]
    for prompt in (asked, asked + earlier):
        ids, response = encode(backbone.tok, prompt, [{"role": "assistant", "content": "The mark <|im_end|> does."}])
        assert backbone.tok.decode(ids) == backbone.tok.decode(encode_prompt(backbone.tok, prompt))
        assert ids.count(backbone.tok.eos_token_id) == len(prompt)
        assert backbone.tok.decode(response) == "The mark <|im_end|> does.<|im_end|>"
        assert response.index(backbone.tok.eos_token_id) == len(response) - 1


def test_batch_locates_its_responses(turns: list[Turn]) -> None:
    batch = collate(turns, 0, torch.device("cpu"))
    for row, (prompt, response) in enumerate(turns):
        assert batch.responses[row][batch.mask[row]].tolist() == response
        assert batch.ids[row, batch.starts[row] + batch.last[row]].item() == response[-1]
        assert batch.before()[row, 0].item() == len(prompt) - 1
    with pytest.raises(ValueError, match="one token or more"):
        collate([([1], [])], 0, torch.device("cpu"))


def test_every_turn_is_in_one_batch(turns: list[Turn]) -> None:
    groups = by_length(turns, 4)
    assert sorted(index for group in groups for index in group) == list(range(6))
    assert [len(group) for group in groups] == [4, 2]
    pairs = [(turn, turn) for turn in turns]
    assert sorted(index for group in plan_pairs(pairs, 4, seed=3) for index in group) == list(range(6))
    assert plan_pairs(pairs, 4, seed=3) == plan_pairs(pairs, 4, seed=3)


def test_padding_token_that_ends_a_turn_is_an_error(backbone: Backbone) -> None:
    assert stop_ids(backbone.model, backbone.tok) == [backbone.tok.eos_token_id]
    backbone.model.generation_config.eos_token_id = [backbone.tok.eos_token_id, 7]
    assert stop_ids(backbone.model, backbone.tok) == sorted({backbone.tok.eos_token_id, 7})
    backbone.tok.pad_token = backbone.tok.eos_token
    with pytest.raises(ValueError, match="padding"):
        stop_ids(backbone.model, backbone.tok)


def sampler(backbone: Backbone, size: int, temperature: float = 0.7) -> Sampler:
    return Sampler(
        backbone, stop_ids(backbone.model, backbone.tok), max_new_tokens=5, temperature=temperature, batch_size=size
    )


def test_rollouts_are_in_order_and_restore_the_active_adapter(backbone: Backbone, turns: list[Turn]) -> None:
    prompts = [prompt for prompt, _ in turns]
    with using(backbone.model, VALUE):
        found = sampler(backbone, 4).generate(prompts)
        assert backbone.model.active_adapter == VALUE
    assert [prompt for prompt, _ in found] == prompts
    assert all(1 <= len(response) <= 5 for _, response in found)
    assert not backbone.model.training


def test_rollouts_are_sampled_from_the_policy(backbone: Backbone, turns: list[Turn]) -> None:
    """Near temperature 0 every token is the policy's most likely one, whichever adapter was active."""
    with using(backbone.model, VALUE):
        found = sampler(backbone, 4, temperature=1e-4).generate([prompt for prompt, _ in turns])
    for prompt, response in found:
        with torch.no_grad(), using(backbone.model, POLICY):
            logits = backbone.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == response


def test_response_is_cut_after_any_stop_token(backbone: Backbone, turns: list[Turn]) -> None:
    prompts = [prompt for prompt, _ in turns]
    free = sampler(backbone, 6, temperature=1e-4).generate(prompts)
    second = free[0][1][1]
    stops = [backbone.tok.eos_token_id, second]
    cut = Sampler(backbone, stops, 5, 1e-4, 6).generate(prompts)
    assert cut[0][1] == free[0][1][: free[0][1].index(second) + 1]
