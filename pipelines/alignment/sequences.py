"""Prompts and responses as tokens: encoding, stop tokens, and the padded batch that everything scores.

A batch is padded on the right. Attention is causal, so padding that comes after a token cannot touch it: no
attention mask and no position ids are needed, and none can be wrong.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.models.messages import Message
from pipelines.training.examples import IGNORED, encode_chat

Turn = tuple[list[int], list[int]]
"""A prompt and one response to it, as token ids. The response holds its end-of-turn token, if it ended."""

Pair = tuple[Turn, Turn]
"""The better turn, and the worse, of one prompt."""


@dataclass(frozen=True)
class Batch:
    """B turns, padded on the right to L tokens; their responses alone, padded to T."""

    ids: Tensor
    """[B, L] prompt, response, padding."""
    starts: Tensor
    """[B] where the response starts."""
    responses: Tensor
    """[B, T] the response."""
    mask: Tensor
    """[B, T] true on the tokens of the response, its end-of-turn token included."""

    @property
    def last(self) -> Tensor:
        """[B] index in T of the last token of the response."""
        return self.mask.sum(dim=1) - 1

    def before(self) -> Tensor:
        """[B, T] index in L of the token before each response token: the state in which it was chosen."""
        steps = torch.arange(self.mask.shape[1], device=self.ids.device)
        return (self.starts[:, None] - 1 + steps).clamp(max=self.ids.shape[1] - 1)


def collate(turns: Sequence[Turn], pad: int, device: torch.device) -> Batch:
    """Pad `turns` to one batch.

    Raises:
        ValueError: a prompt or a response is empty.
    """
    if any(not prompt or not response for prompt, response in turns):
        raise ValueError("a turn needs a prompt and a response of one token or more")
    responses = [torch.tensor(response) for _, response in turns]
    whole = [torch.tensor(prompt + response) for prompt, response in turns]
    mask = [torch.ones(len(response), dtype=torch.bool) for response in responses]
    return Batch(
        ids=pad_sequence(whole, batch_first=True, padding_value=pad).to(device),
        starts=torch.tensor([len(prompt) for prompt, _ in turns], device=device),
        responses=pad_sequence(responses, batch_first=True, padding_value=pad).to(device),
        mask=pad_sequence(mask, batch_first=True, padding_value=False).to(device),
    )


def by_length(turns: Sequence[Turn], size: int) -> list[list[int]]:
    """Cut the indices of `turns` into groups of `size` of like length, so that little is padded."""
    order = sorted(range(len(turns)), key=lambda index: (sum(map(len, turns[index])), index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def plan_pairs(pairs: Sequence[Pair], size: int, seed: int) -> list[list[int]]:
    """Return one pass over `pairs`, as indices: batches of like length, in a seeded order."""
    generator = random.Random(seed)
    order = generator.sample(range(len(pairs)), len(pairs))
    order.sort(key=lambda index: max(sum(map(len, turn)) for turn in pairs[index]))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return generator.sample(batches, len(batches))


def encode(tok: PreTrainedTokenizerBase, prompt: list[Message], answer: list[Message]) -> Turn:
    """Return a turn as the model would have generated it, up to its end of turn."""
    whole = encode_chat(tok, prompt + answer)
    start = len(whole.labels) - whole.labels[::-1].index(IGNORED)
    return whole.ids[:start], whole.ids[start:]


def encode_pairs(tok: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[Pair]:
    """Return preference rows as pairs of turns."""
    return [(encode(tok, row["prompt"], row["chosen"]), encode(tok, row["prompt"], row["rejected"])) for row in rows]


def stop_ids(model: PreTrainedModel, tok: PreTrainedTokenizerBase) -> list[int]:
    """Return every token that ends a turn.

    Raises:
        ValueError: padding is one of them, which would hide the end from the losses.
    """
    configured = model.generation_config.eos_token_id
    stops = {tok.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    if tok.pad_token_id is None or tok.pad_token_id in stops:
        raise ValueError(f"padding ({tok.pad_token_id}) must be a token that ends no turn ({sorted(stops)})")
    return sorted(stops)
