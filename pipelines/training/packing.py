"""Sequence packing: best-fit-decreasing bin packing of texts into blocks of one length, with document masking.

Packing avoids padding, and texts are split only if they are longer than a block (Ding et al. 2024, "Fewer truncations
improve language modeling", arXiv:2404.10830).
"""

from collections.abc import Sequence

import torch

from pipelines.models.head import Model, base_of
from pipelines.models.parallel import sharding
from pipelines.runtime.errors import UserError
from pipelines.training.examples import IGNORED, Example


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return bins of indices, each at most `capacity` in total: longest first, each into the fullest bin that fits.

    O(n log n): a bit set records which amounts of remaining space exist.
    """
    bins: list[list[int]] = []
    room: dict[int, list[int]] = {}
    spaces = 0
    for index in sorted(range(len(lengths)), key=lambda each: (-lengths[each], each)):
        length = lengths[index]
        enough = spaces >> length
        if enough:
            space = length + (enough & -enough).bit_length() - 1
            chosen = room[space].pop()
            if not room[space]:
                spaces &= ~(1 << space)
        else:
            space, chosen = capacity, len(bins)
            bins.append([])
        bins[chosen].append(index)
        room.setdefault(space - length, []).append(chosen)
        spaces |= 1 << (space - length)
    return [sorted(each) for each in bins]


def pack(rows: Sequence[Example], length: int) -> list[Example]:
    """Pack rows of at most `length` tokens into blocks of at most `length` tokens.

    Positions restart with each row, so that attention can separate the rows. The first token of a row is not predicted,
    because its context would be the previous row.
    """
    blocks = []
    for members in best_fit([len(row.ids) for row in rows], length):
        chosen = [rows[index] for index in members]
        ids = [token for row in chosen for token in row.ids]
        labels = [label for row in chosen for label in (IGNORED, *row.labels[1:])]
        blocks.append(Example(ids, labels, positions=[place for row in chosen for place in range(len(row.ids))]))
    return blocks


def check_document_masking(model: Model, what: str) -> None:
    """Test on the model itself that packed texts do not attend to each other.

    The output for one text must not depend on another, so its gradient there must be zero; with masked attention it is
    exactly zero in any precision. The test uses two rows, as in training, because flash attention uses the positions
    only with a single row.

    Raises:
        UserError: packed texts attend to each other.
    """
    base = base_of(model)
    embedded: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        embedded.append(output.requires_grad_())

    places = torch.cat([torch.arange(5), torch.arange(7)]).expand(2, -1).to(model.device)
    training = model.training
    model.eval()
    hook = base.get_input_embeddings().register_forward_hook(keep)
    with sharding.autocast_if_sharded(base):
        output = base.get_decoder()(input_ids=10 + places, position_ids=places, use_cache=False)
    hidden = output.last_hidden_state[:, 5:].float()
    hook.remove()
    model.train(training)
    direction = torch.linspace(0, 1, hidden.shape[-1], device=hidden.device)  # a plain sum is constant after LayerNorm
    (gradient,) = torch.autograd.grad((hidden * direction).sum(), embedded[0])
    if gradient[:, :5].any():
        raise UserError(
            f"{what}: in this model packed texts attend to each other; set {what}.packing to false, or use a model "
            "with only attention layers that respect position_ids (with sdpa or eager in transformers)."
        )
