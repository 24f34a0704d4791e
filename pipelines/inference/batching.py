"""Prompts in batches, ready to be continued token by token.

Questions about one passage share its tokens, whose keys and values are computed once; prompts of like length share a
batch; and rows that have ended can leave it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

_WORTH_SHARING = 16  # tokens; a shorter common beginning is computed anew


@dataclass(frozen=True)
class Group:
    """Prompts that begin with the same tokens: their places in the list, and how many tokens they share."""

    members: tuple[int, ...]
    shared: int


@dataclass
class Batch:
    """Prompts of which the model has seen all but their last tokens."""

    places: list[int]
    """Of the prompts in the list, one a row at first."""
    ids: torch.Tensor
    """Tokens that the model has yet to see, padded on the left: (rows, tokens)."""
    mask: torch.Tensor
    """0 on padding: (rows, seen + yet to see)."""
    cache: DynamicCache
    """Keys and values of what it has seen."""

    def logits(self, model: PreTrainedModel) -> torch.Tensor:
        """Let the model see the rest; return its logits for each row's next token: (rows, vocabulary)."""
        hidden = _see(model, self.ids, self.mask, self.cache)
        logits: torch.Tensor = model.get_output_embeddings()(hidden[:, -1].contiguous())
        return logits.float()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows, in this order; a row may be among them more than once."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def push(self, tokens: torch.Tensor) -> None:
        """Let each row go on with its token of `tokens`: (rows,)."""
        self.ids, self.mask = tokens[:, None], torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)


def plan(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield groups of like length whose prompts number at most `size` together."""
    groups = share(prompts, size)
    groups.sort(key=lambda group: (group.shared, len(prompts[group.members[0]]), group.members))
    batch: list[Group] = []
    for group in groups:
        if batch and sum(len(each.members) for each in batch) + len(group.members) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def share(prompts: Sequence[Sequence[int]], most: int) -> list[Group]:
    """Group the prompts that begin alike, at most `most` together; each prompt keeps a last token of its own."""
    groups: list[Group] = []
    for index in sorted(range(len(prompts)), key=lambda at: (list(prompts[at]), at)):
        common = 0
        if groups and len(groups[-1].members) < most:
            last = groups[-1]
            common = min(last.shared, _common(prompts[last.members[0]], prompts[index]), len(prompts[index]) - 1)
        if common >= _WORTH_SHARING:
            groups[-1] = Group((*groups[-1].members, index), common)
        else:
            groups.append(Group((index,), len(prompts[index]) - 1))
    return groups


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def prefill(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], groups: list[Group]
) -> Batch:
    """Let the model see what the prompts of each group share, once, and hand it to all of them."""
    places = [place for group in groups for place in group.members]
    owner = [number for number, group in enumerate(groups) for _ in group.members]
    cache = DynamicCache(config=model.config)
    ids, mask = _pad(tok, model, [prompts[place][group.shared :] for group in groups for place in group.members])
    beginnings, seen = _pad(tok, model, [prompts[group.members[0]][: group.shared] for group in groups])
    _see(model, beginnings, seen, cache)
    if len(owner) > len(groups):
        cache.batch_select_indices(torch.tensor(owner, device=model.device))
    return Batch(places, ids, torch.cat([seen[owner], mask], dim=1), cache)


def _see(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Run the tokens `ids` after what `cache` holds; positions count what `mask` does not hide."""
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model.get_decoder()(
        input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def _pad(
    tok: PreTrainedTokenizerBase, model: PreTrainedModel, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    padded = tok.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="left")
    return padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
