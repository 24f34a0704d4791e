"""Batched prefill with prefix sharing, for token-by-token decoding.

Questions about one passage share a prefix, whose keys and values are computed once. Prompts of similar length share a
batch, from which finished rows can be removed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from pipelines.models.head import Head

_WORTH_SHARING = 16  # tokens; a shorter common prefix is recomputed
_BLOCK = 16  # tokens by which a key-value cache grows
_ROWS = 8  # rows of a part of the logits


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers' caches are untyped
    """Keys and values of one layer, (rows, heads, tokens, dimension), in buffers that grow by `_BLOCK` tokens.

    The parent class concatenates at every token, which copies the whole cache: on a CPU, a seventh of a decoding step.
    """

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens; return those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [new.new_empty(*new.shape[:2], 0, new.shape[-1]) for new in (key_states, value_states)]
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        for place, new in enumerate((key_states, value_states)):
            if end > self._buffers[place].shape[-2]:
                room = new.new_empty(*new.shape[:2], -(-end // _BLOCK) * _BLOCK, new.shape[-1])
                room[:, :, :start] = self._buffers[place][:, :, :start]
                self._buffers[place] = room
            self._buffers[place][:, :, start:end] = new
        return self._view(end)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Select rows in the given order; a row may be repeated."""
        if length := self.get_seq_length():
            self._buffers = [buffer.index_select(0, beam_idx) for buffer in self._buffers]
            self._view(length)

    def _view(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values


@dataclass(frozen=True)
class Group:
    """Prompts with a common prefix: their positions in the list, and the length of the prefix in tokens."""

    members: tuple[int, ...]
    shared: int


@dataclass
class Batch:
    """Prompts whose tokens, except for the last ones, are in the key-value cache."""

    places: list[int]
    """Positions of the prompts in the list, one per initial row."""
    ids: torch.Tensor
    """Tokens not yet in the cache, left-padded: (rows, tokens)."""
    mask: torch.Tensor
    """Attention mask, 0 on padding: (rows, cached + new tokens)."""
    cache: DynamicCache
    """Key-value cache."""

    def logits(self, model: PreTrainedModel) -> torch.Tensor:
        """Run the tokens that are not yet cached; return the next-token logits: (rows, vocabulary)."""
        return Head.of(model).native(self.hidden(model)[:, -1].contiguous())

    def hidden(self, model: PreTrainedModel) -> torch.Tensor:
        """Run the tokens that are not yet cached; return the last hidden states: (rows, new tokens, dimension)."""
        return _forward(model, self.ids, self.mask, self.cache)

    def keep(self, rows: torch.Tensor) -> None:
        """Select rows in the given order; a row may be repeated."""
        self.cache.reorder_cache(rows)
        self.mask = self.mask[rows]

    def push(self, tokens: torch.Tensor) -> None:
        """Append one token to each row; `tokens` is (rows,)."""
        self.ids, self.mask = tokens[:, None], torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)


def plan(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield batches of groups of similar length, with at most `size` prompts each."""
    yield from batches(share(prompts, size), prompts, size)


def batches(groups: Sequence[Group], prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield batches of the given groups, those of similar length together, with at most `size` prompts each."""
    batch: list[Group] = []
    for group in sorted(groups, key=lambda group: (group.shared, len(prompts[group.members[0]]), group.members)):
        if batch and sum(len(each.members) for each in batch) + len(group.members) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def share(prompts: Sequence[Sequence[int]], most: int) -> list[Group]:
    """Group prompts by common prefix, at most `most` per group; the prefix excludes the last token of every prompt."""
    groups: list[Group] = []
    for index in sorted(range(len(prompts)), key=lambda at: (list(prompts[at]), at)):
        common = 0
        if groups and len(groups[-1].members) < most:
            last = groups[-1]
            common = min(last.shared, _common_prefix(prompts[last.members[0]], prompts[index]), len(prompts[index]) - 1)
        if common >= _WORTH_SHARING:
            groups[-1] = Group((*groups[-1].members, index), common)
        else:
            groups.append(Group((index,), len(prompts[index]) - 1))
    return groups


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def prefill(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    groups: list[Group],
    new_tokens: int = 0,
) -> Batch:
    """Compute the shared prefix of each group once, and copy its keys and values to all prompts of the group.

    `new_tokens` is the most that will be generated. If a row can grow beyond the model's sliding window, prefixes are
    not shared: the padding behind a shared prefix would take places in the window from tokens. In hybrid models
    (Granite 4.0 H, Qwen3-Next), whose linear-attention layers mask padding only in the first forward pass, each prompt
    is read in one pass.
    """
    cache = DynamicCache(config=model.config)
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers):
        groups = [Group((place,), 0) for group in groups for place in group.members]
    elif max(len(prompts[place]) for group in groups for place in group.members) + new_tokens > _window(cache):
        groups = _unshared(prompts, groups)
    places = [place for group in groups for place in group.members]
    owner = [number for number, group in enumerate(groups) for _ in group.members]
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    ids, mask = pad(tok, model, [prompts[place][group.shared :] for group in groups for place in group.members])
    prefixes, seen = pad(tok, model, [prompts[group.members[0]][: group.shared] for group in groups])
    if prefixes.shape[1]:
        _forward(model, prefixes, seen, cache)
    if len(owner) > len(groups):
        cache.reorder_cache(torch.tensor(owner, device=model.device))
    return Batch(places, ids, torch.cat([seen[owner], mask], dim=1), cache)


def _window(cache: DynamicCache) -> float:
    """Return the shortest sliding window of the layers, in tokens."""
    layers = zip(cache.layers, cache.is_sliding, strict=True)
    return min((layer.sliding_window for layer, slides in layers if slides), default=math.inf)


def _unshared(prompts: Sequence[Sequence[int]], groups: list[Group]) -> list[Group]:
    """Return a group of its own for every prompt, split so that its row is padded only at the start."""
    new = max(len(prompts[place]) - group.shared for group in groups for place in group.members)
    return [Group((place,), max(0, len(prompts[place]) - new)) for group in groups for place in group.members]


def _forward(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Run the tokens `ids` after those in `cache`; position ids count only unmasked tokens."""
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model.get_decoder()(
        input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def cache_sized(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the rows of `logits` in parts: on a CPU, of a size at which float32 passes stay in its cache.

    The log-sum-exp of 320 rows of 49,152 bf16 logits takes 19 ms in parts of eight, and 111 ms at once.
    """
    return torch.split(logits, _ROWS if logits.device.type == "cpu" else max(len(logits), 1))


def pad(
    tok: PreTrainedTokenizerBase, model: PreTrainedModel, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-pad `rows`; return the ids and their attention mask, both (rows, tokens)."""
    padded = tok.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="left")
    return padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
