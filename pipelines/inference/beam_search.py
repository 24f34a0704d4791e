"""The likeliest answer of a model, by a beam search; rows whose answer is known leave the batch."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching


@torch.inference_mode()
def search(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    beams: int,
    length_penalty: float,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and the best answer that a beam search finds, up to and including one of `stops`.

    The `beams` likeliest beginnings are followed until as many answers have ended, or have `max_new_tokens`. The best
    has the highest log-likelihood divided by its length (tokens) to the power of `length_penalty`. It is what
    transformers finds with `early_stopping`.
    """
    ends = torch.tensor(stops, device=model.device)
    for groups in batching.plan(prompts, batch_size):
        yield from _best(
            model, batching.prefill(model, tok, prompts, groups), ends, max_new_tokens, beams, length_penalty
        )


def _best(
    model: PreTrainedModel, batch: batching.Batch, ends: torch.Tensor, limit: int, beams: int, penalty: float
) -> Iterator[tuple[int, list[int]]]:
    """Yield the place of each prompt of a batch, once it is known, with the best answer."""
    going = batch.places
    ended: dict[int, list[tuple[float, list[int]]]] = {place: [] for place in going}  # (score, tokens)
    said = batch.ids.new_zeros(len(going), 1, 0)  # (prompts, beams, tokens): a single beam at first
    total = torch.zeros(len(going), 1, device=ends.device)  # (prompts, beams): log-likelihood
    for length in range(1, limit + 1):
        likely = batch.logits(model).log_softmax(-1)
        vocabulary = likely.shape[-1]
        likely = total[:, :, None] + likely.view(*total.shape, vocabulary)
        best, found = likely.flatten(1).topk((1 + len(ends)) * beams)  # enough to go on, whichever of them end
        parents, chosen = found // vocabulary, found % vocabulary
        grown = torch.cat([said.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), chosen[:, :, None]], dim=2)
        over = torch.isin(chosen, ends) | (length == limit)
        for row, rank in over[:, :beams].nonzero().tolist():
            ended[going[row]].append((float(best[row, rank]) / length**penalty, grown[row, rank].tolist()))
        left = [row for row, place in enumerate(going) if len(ended[place]) < beams]
        yield from ((place, max(ended[place])[1]) for place in going if len(ended[place]) >= beams)
        if not left:
            break
        going = [going[row] for row in left]
        kept = over[left].int().argsort(dim=1, stable=True)[:, :beams]  # the likeliest that go on
        said = grown[left].gather(1, kept[:, :, None].expand(-1, -1, length))
        rows = torch.tensor(left, device=ends.device)[:, None] * total.shape[1] + parents[left].gather(1, kept)
        total = best[left].gather(1, kept)
        batch.keep(rows.flatten())
        batch.push(said[:, :, -1].flatten())
