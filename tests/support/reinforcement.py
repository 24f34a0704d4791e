"""Actors of online training on the tiny backbone, with a programmatic reward."""

from collections.abc import Callable, Sequence

import torch

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.rewards.functions import Verdict
from pipelines.alignment.rl.config import RLBlock
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.samples import Prompt, Sample
from pipelines.alignment.rl.trainer import Actors
from pipelines.evaluation.questions import Question
from pipelines.models.templates.stops import stop_ids

Score = Callable[[Sequence[Sample]], torch.Tensor]


def prompt(ids: list[int], accepted: str = "") -> Prompt:
    """Return a prompt with the token ids `ids`; without an accepted answer it is unanswerable."""
    question = Question("", "", "answer", "", "Who?", (accepted,) if accepted else (), competing=(), sources=())
    return Prompt(ids, [{"role": "user", "content": "Who?"}], accepted, question)


PROMPTS = [prompt(ids) for ids in ([5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15, 16], [17, 18])]


def actors(backbone: Backbone, block: RLBlock, reward: Score) -> Actors:
    """Return actors whose answers are scored by `reward`."""
    stops = stop_ids(backbone.model, backbone.tok)
    sampler = Sampler(backbone, stops, block.max_new_tokens, block.temperature, block.minibatch)
    return Actors(backbone, sampler, reward, Verdict("I don't know.", 25, 0.75))


def even(samples: Sequence[Sample]) -> torch.Tensor:
    """Score 1 an answer whose first token is even, else 0."""
    return torch.tensor([float(sample.response[0] % 2 == 0) for sample in samples])


def sharpen(backbone: Backbone, factor: float = 5) -> None:
    """Scale the embeddings: the logits of random weights are too flat for a policy to prefer any token."""
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight.mul_(factor)


@torch.no_grad()
def probability_of_even(backbone: Backbone, temperature: float) -> float:
    """Return the mean probability that the first token of an answer is even."""
    logits = torch.stack([backbone.model(torch.tensor([each.ids])).logits[0, -1] for each in PROMPTS])
    return float((logits / temperature).softmax(-1)[:, ::2].sum(-1).mean())
