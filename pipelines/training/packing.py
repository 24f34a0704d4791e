"""Short texts packed into blocks of one length, so that no step is spent on padding, and none sees another.

Best-fit decreasing (Ding et al. 2024, "Fewer truncations improve language modeling", arXiv:2404.10830): a text is cut
only where it is longer than a block.
"""

from collections.abc import Sequence

import peft
import torch

from pipelines.runtime.errors import UserError
from pipelines.training.examples import IGNORED, Example


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


def pack(rows: Sequence[Example], length: int) -> list[Example]:
    """Join rows of at most `length` tokens into blocks of at most as many.

    Positions begin anew with each row, which tells attention where one ends; and no row's first token is predicted,
    for it would be from the row before.
    """
    blocks = []
    for members in best_fit([len(row.ids) for row in rows], length):
        chosen = [rows[index] for index in members]
        ids = [token for row in chosen for token in row.ids]
        labels = [label for row in chosen for label in (IGNORED, *row.labels[1:])]
        blocks.append(Example(ids, labels, positions=[place for row in chosen for place in range(len(row.ids))]))
    return blocks


def keep_apart(model: peft.PeftModel, what: str) -> None:
    """Try, on the very model, whether a packed text is read as if it were alone.

    What it says of one text may not change with another, so that its derivative there is zero: exactly, in whatever
    precision, for masked attention is. Two rows, as in training: flash attention heeds the positions of one row alone.

    Raises:
        UserError: it is not, so that packing would have texts attend to each other.
    """
    base = model.get_base_model()
    embedded: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        embedded.append(output.requires_grad_())

    places = torch.cat([torch.arange(5), torch.arange(7)]).expand(2, -1).to(model.device)
    training = model.training
    model.eval()
    hook = base.get_input_embeddings().register_forward_hook(keep)
    decoder = base.get_decoder()
    hidden = decoder(input_ids=10 + places, position_ids=places, use_cache=False).last_hidden_state[:, 5:].float()
    hook.remove()
    model.train(training)
    direction = torch.linspace(0, 1, hidden.shape[-1], device=hidden.device)  # a plain sum is constant after LayerNorm
    (slope,) = torch.autograd.grad((hidden * direction).sum(), embedded[0])
    if slope[:, :5].any():
        raise UserError(
            f"{what}: this model does not keep packed texts apart; set {what}.packing to false, or take a model whose "
            "every layer is attention that goes by position_ids (with sdpa or eager in transformers)."
        )
