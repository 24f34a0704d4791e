"""Answers from a model: chat in, text out, many at once.

Questions about one passage share its tokens; those are computed once and their keys and values reused. Prompts of
like length share a batch, so that little is padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.progress import Meter

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""

_WORTH_SHARING = 16  # tokens; a shorter common beginning is computed anew


@dataclass(frozen=True)
class Group:
    """Prompts that begin with the same tokens: their places in the list, and how many tokens they share."""

    members: tuple[int, ...]
    shared: int


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[list[Message]],
    *,
    max_new_tokens: int,
    temperature: float | None,
    batch_size: int,
    seed: int,
    what: str,
) -> list[str]:
    """Answer every prompt, in the order given.

    Greedy when `temperature` is None; else sampled from the whole distribution, seeded once before the first batch.
    """
    encoded = [
        tok.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"] for chat in prompts
    ]
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature is not None:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(seed)
    answers = [""] * len(prompts)
    meter = Meter(what, len(prompts))
    for groups in _batches(encoded, batch_size):
        inputs, cache = _prefill(model, tok, encoded, groups)
        output = model.generate(
            **inputs, past_key_values=cache, max_new_tokens=max_new_tokens, pad_token_id=tok.pad_token_id, **sampling
        )
        texts = tok.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        chosen = [index for group in groups for index in group.members]
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text.strip()
        meter.step(len(chosen))
    meter.close()
    return answers


def share(encoded: Sequence[Sequence[int]], most: int) -> list[Group]:
    """Group the prompts that begin alike, at most `most` together; each prompt keeps a last token of its own."""
    groups: list[Group] = []
    for index in sorted(range(len(encoded)), key=lambda at: (list(encoded[at]), at)):
        common = 0
        if groups and len(groups[-1].members) < most:
            last = groups[-1]
            common = min(last.shared, _common(encoded[last.members[0]], encoded[index]), len(encoded[index]) - 1)
        if common >= _WORTH_SHARING:
            groups[-1] = Group((*groups[-1].members, index), common)
        else:
            groups.append(Group((index,), len(encoded[index]) - 1))
    return groups


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield groups of like length whose prompts number at most `size` together."""
    groups = share(encoded, size)
    groups.sort(key=lambda group: (group.shared, len(encoded[group.members[0]]), group.members))
    batch: list[Group] = []
    for group in groups:
        if batch and sum(len(each.members) for each in batch) + len(group.members) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _prefill(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, encoded: Sequence[Sequence[int]], groups: list[Group]
) -> tuple[dict[str, torch.Tensor], DynamicCache | None]:
    """Compute what the prompts of each group share, once, and hand it to all of them.

    Returns the padded prompts (rows, tokens) and the cache of their shared part; none when nothing is shared.
    """
    if all(len(group.members) == 1 for group in groups):
        whole = _pad(tok, [encoded[group.members[0]] for group in groups])
        return {key: value.to(model.device) for key, value in whole.items()}, None
    beginnings = _pad(tok, [encoded[group.members[0]][: group.shared] for group in groups])
    rest = _pad(tok, [encoded[index][group.shared :] for group in groups for index in group.members])
    owner = torch.tensor([number for number, group in enumerate(groups) for _ in group.members])
    cache = DynamicCache(config=model.config)
    places = (beginnings["attention_mask"].cumsum(1) - 1).clamp(min=0)  # as generate() counts them, padding apart
    first = {key: value.to(model.device) for key, value in (beginnings | {"position_ids": places}).items()}
    model(**first, past_key_values=cache, logits_to_keep=1)
    cache.batch_select_indices(owner.to(model.device))
    joined = {key: torch.cat([beginnings[key][owner], rest[key]], dim=1).to(model.device) for key in rest}
    return joined, cache


def _pad(tok: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    padded = tok.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="left")
    return {key: padded[key] for key in ("input_ids", "attention_mask")}
