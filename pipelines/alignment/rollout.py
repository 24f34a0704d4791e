"""Responses of the policy as it is now, as tokens: batched generation, prompts of like length together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from transformers import GenerationConfig

from pipelines.alignment.backbone import POLICY, Backbone, using
from pipelines.alignment.masks import response_mask
from pipelines.alignment.sequences import Turn
from pipelines.models import autocast


@dataclass(frozen=True)
class Sampler:
    """Draws one response for each prompt, from the whole distribution at `temperature`."""

    backbone: Backbone
    stops: list[int]
    max_new_tokens: int
    temperature: float
    batch_size: int

    def generate(self, prompts: Sequence[list[int]]) -> list[Turn]:
        """Return a turn for every prompt, in the order given, each cut after its first stop token.

        Raises:
            RuntimeError: generation returned fewer responses than prompts.
        """
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
        responses: dict[int, list[int]] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            responses.update(zip(chosen, self._respond([prompts[index] for index in chosen]), strict=True))
        return [(prompts[index], responses[index]) for index in range(len(prompts))]

    @torch.no_grad()
    def _respond(self, prompts: list[list[int]]) -> list[list[int]]:
        model, pad = self.backbone.model, self.backbone.tok.pad_token_id
        ids, attention = pad_left(prompts, pad)
        settings = GenerationConfig(
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.stops,
            pad_token_id=pad,
            use_cache=True,
        )
        given = {"input_ids": ids.to(model.device), "attention_mask": attention.to(model.device)}
        precision = autocast(self.backbone.compute, self.backbone.device)
        with using(model, POLICY), precision, disable_input_dtype_casting(model):
            output = model.generate(**given, generation_config=settings)
        generated = output[:, ids.shape[1] :].cpu()
        if len(generated) != len(prompts):
            raise RuntimeError(f"{len(generated)} responses came back for {len(prompts)} prompts")
        mask, _, _ = response_mask(generated, self.stops)
        return [row[kept].tolist() for row, kept in zip(generated, mask, strict=True)]


def pad_left(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask [B, P] with padding before the prompts, where generation needs it."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + prompt for prompt in prompts]
    attention = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(attention)
