"""Prompts and responses as tokens: encoding, and padded batches.

Batches are padded on the right. Attention is causal, so padding cannot affect the tokens before it, and neither an
attention mask nor position ids are needed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from pipelines.curation.schema import PreferencePair
from pipelines.models.messages import Message
from pipelines.training.examples import IGNORED, Example, encode_chat

Turn = tuple[list[int], list[int]]
"""A prompt and one response to it, as token ids. The response includes its end-of-turn token, if it ended."""

Pair = tuple[Turn, Turn]
"""The chosen and the rejected turn of one prompt."""


@dataclass(frozen=True)
class Batch:
    """B turns, padded on the right to L tokens; their responses alone, padded to T."""

    ids: Tensor
    """[B, L] token ids: prompt, response, padding."""
    starts: Tensor
    """[B] index in L of the first token of the response."""
    responses: Tensor
    """[B, T] token ids of the response."""
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
    """Split the indices of `turns` into groups of `size` with similar lengths, to reduce padding."""
    order = sorted(range(len(turns)), key=lambda index: (sum(map(len, turns[index])), index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def plan_pairs(pairs: Sequence[Pair], size: int, seed: int) -> list[list[int]]:
    """Return one epoch over `pairs`, as indices: batches of similar length, in a seeded order."""
    generator = random.Random(seed)
    order = generator.sample(range(len(pairs)), len(pairs))
    order.sort(key=lambda index: max(sum(map(len, turn)) for turn in pairs[index]))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return generator.sample(batches, len(batches))


def by_prompt(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the indices of the pairs of each prompt."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for index, ((prompt, _), _) in enumerate(pairs):
        rows.setdefault(tuple(prompt), []).append(index)
    return list(rows.values())


def plan_prompts(pairs: Sequence[Pair], size: int, seed: int) -> list[list[int]]:
    """Return one epoch over `pairs`, as indices: batches of whole prompts of similar length, in a seeded order.

    A batch has at most `size` pairs, unless a single prompt has more.
    """
    generator, sizes = random.Random(seed), pair_sizes(pairs)
    prompts = by_prompt(pairs)
    order = generator.sample(prompts, len(prompts))
    order.sort(key=lambda rows: max(sizes[index] for index in rows))
    batches: list[list[int]] = []
    for rows in order:
        if batches and len(batches[-1]) + len(rows) <= size:
            batches[-1] += rows
        else:
            batches.append(rows)
    return generator.sample(batches, len(batches))


def pair_sizes(pairs: Sequence[Pair]) -> list[int]:
    """Return the tokens of each pair as they go through the model: both turns, padded to the longer one."""
    return [2 * max(sum(map(len, turn)) for turn in pair) for pair in pairs]


def encode(tok: PreTrainedTokenizerBase, prompt: list[Message], answer: list[Message]) -> Turn:
    """Return a turn as the model would generate it, up to its end-of-turn token."""
    encoded = encode_chat(tok, prompt + answer)
    start = len(encoded.labels) - encoded.labels[::-1].index(IGNORED)
    return encoded.ids[:start], encoded.ids[start:]


def encode_pairs(tok: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> list[Pair]:
    """Return preference pairs as pairs of turns: chosen, rejected."""
    return [(encode(tok, each.prompt, each.chosen), encode(tok, each.prompt, each.rejected)) for each in pairs]


def as_rows(pair: Pair, *, predicted: bool) -> tuple[Example, Example]:
    """Return the two rows of a pair; the tokens of the answers are labelled if they are predicted, not only scored."""
    chosen, rejected = (
        Example(prompt + answer, [IGNORED] * len(prompt) + (answer if predicted else [IGNORED] * len(answer)))
        for prompt, answer in pair
    )
    return chosen, rejected
