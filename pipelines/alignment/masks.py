"""Which tokens of a generated response count: those up to and including the first stop token."""

import torch
from torch import Tensor


def response_mask(ids: Tensor, stop_ids: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (mask [B, T], ended [B], last [B]) of responses `ids` [B, T] as they came from generation.

    The mask comes from where a stop token stands, never from `ids != pad`, so a pad token in the middle of a
    response counts. `last` is the index of the last token that counts: the stop token where there is one.
    """
    stops = torch.isin(ids, torch.tensor(stop_ids, device=ids.device))
    stopped_before = stops.cumsum(dim=1) - stops.long()
    mask = stopped_before == 0
    return mask, stops.any(dim=1), mask.sum(dim=1) - 1
