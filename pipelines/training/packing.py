"""Short texts packed into blocks of one length, so that no step is spent on padding, and none sees another.

Best-fit decreasing (Ding et al. 2024, "Fewer truncations improve language modeling", arXiv:2404.10830): a text is cut
only where it is longer than a block.
"""

from collections.abc import Sequence

import peft
import torch

from pipelines.errors import UserError
from pipelines.training.rows import IGNORED, Encoded


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return bins of indices, each of at most `capacity` in all; the longest first, each where least room is left.

    O(n log n): the bits of a number tell which amounts of room there are.
    """
    bins: list[list[int]] = []
    room: dict[int, list[int]] = {}
    there = 0
    for index in sorted(range(len(lengths)), key=lambda each: (-lengths[each], each)):
        length = lengths[index]
        enough = there >> length
        if enough:
            space = length + (enough & -enough).bit_length() - 1
            chosen = room[space].pop()
            if not room[space]:
                there &= ~(1 << space)
        else:
            space, chosen = capacity, len(bins)
            bins.append([])
        bins[chosen].append(index)
        room.setdefault(space - length, []).append(chosen)
        there |= 1 << (space - length)
    return [sorted(each) for each in bins]


def pack(rows: Sequence[Encoded], length: int) -> list[Encoded]:
    """Join rows of at most `length` tokens into blocks of at most as many.

    Positions begin anew with each row, which tells attention where one ends; and no row's first token is predicted,
    for it would be from the row before.
    """
    blocks = []
    for members in best_fit([len(row.ids) for row in rows], length):
        chosen = [rows[index] for index in members]
        ids = [token for row in chosen for token in row.ids]
        labels = [label for row in chosen for label in (IGNORED, *row.labels[1:])]
        blocks.append(Encoded(ids, labels, positions=[place for row in chosen for place in range(len(row.ids))]))
    return blocks


@torch.no_grad()
def keep_apart(model: peft.PeftModel, what: str) -> None:
    """Try, on the very model, whether a packed row is read as if it were alone.

    Raises:
        UserError: it is not, so that packing would have texts attend to each other.
    """
    decoder = model.get_base_model().get_decoder()
    first, second = torch.arange(10, 15, device=model.device), torch.arange(20, 27, device=model.device)
    together = torch.cat([first, second])[None]
    places = torch.cat([torch.arange(5), torch.arange(7)])[None].to(model.device)
    training = model.training
    model.eval()
    alone = decoder(input_ids=second[None], use_cache=False).last_hidden_state[0]
    packed = decoder(input_ids=together, position_ids=places, use_cache=False).last_hidden_state[0, 5:]
    mixed = decoder(input_ids=together, use_cache=False).last_hidden_state[0, 5:]
    model.train(training)
    if (packed - alone).abs().max() > 0.1 * (mixed - alone).abs().max():
        raise UserError(
            f"{what}: the attention of this model does not keep packed texts apart; set {what}.packing to false, or "
            "load a model whose attention goes by position_ids (sdpa and flash attention in transformers do)."
        )
