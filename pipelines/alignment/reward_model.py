"""The reward model: an adapter on the policy's backbone, and a head that scores the end-of-turn token.

TRL's RewardTrainer trains a model of another class, whose head is part of it and scores the last token of the chat
template (a newline, here). This objective scores with `Backbone.scores`, as PPO does, so both use the same position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.alignment.backbone import POLICY, Backbone, named_head, named_weights, scalar_head, train_only
from pipelines.alignment.losses import pair_loss
from pipelines.alignment.sequences import Pair, Turn, by_length, collate, encode, pair_sizes, plan_pairs
from pipelines.models import loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.messages import Message
from pipelines.models.tuning import preparation
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track
from pipelines.training.loop import fit
from pipelines.training.step import Job, Loss

HEAD = "head.safetensors"


@dataclass(frozen=True)
class BradleyTerry:
    """-log sigmoid(score of the chosen - score of the rejected turn); the weight is the number of pairs."""

    backbone: Backbone
    head: nn.Linear
    pairs: Sequence[Pair]

    @property
    def sizes(self) -> list[int]:
        """Tokens of each pair."""
        return pair_sizes(self.pairs)

    def __call__(self, model: PeftModel, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the pairs `items`, with the pairwise accuracy as a metric."""
        chosen, rejected = margins(self.backbone, self.head, [self.pairs[item] for item in items])
        correct = (chosen > rejected).float().sum()
        return Loss(pair_loss(chosen, rejected).sum(), float(len(items)), {"accuracy": correct})


def train(backbone: Backbone, head: nn.Linear, pairs: list[Pair], batch_size: int, job: Job) -> None:
    """Train the active adapter of `backbone` and `head` to prefer the first of each pair (Bradley-Terry).

    Raises:
        UserError: the loss becomes NaN.
    """
    seeds = range(job.compute.seed, job.compute.seed + job.epochs)
    plan = [batch for seed in seeds for batch in plan_pairs(pairs, batch_size, seed)]
    weights = named_weights(backbone.model, POLICY) | named_head(head)
    fit(backbone.model, BradleyTerry(backbone, head, pairs), plan, job, weights)


def margins(backbone: Backbone, head: nn.Linear, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return the scores [B] of the chosen and of the rejected turns, from one forward pass."""
    turns = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    scores = backbone.scores(collate(turns, backbone.tok.pad_token_id, backbone.device), head)
    return scores[: len(pairs)], scores[len(pairs) :]


@torch.no_grad()
def accuracy(backbone: Backbone, head: nn.Linear, pairs: list[Pair], batch_size: int) -> list[bool]:
    """Return for each pair whether the chosen turn scores higher; a tie counts as wrong."""
    correct: list[bool] = []
    for start in range(0, len(pairs), batch_size):
        chosen, rejected = margins(backbone, head, pairs[start : start + batch_size])
        correct += (chosen > rejected).tolist()
    return correct


@torch.no_grad()
def scores(backbone: Backbone, head: nn.Linear, turns: list[Turn], batch_size: int) -> list[float]:
    """Return the score of each turn."""
    turn_scores = [0.0] * len(turns)
    batches = by_length(turns, batch_size)
    for batch in track(batches, "batches to the reward model", len(batches)):
        part = collate([turns[index] for index in batch], backbone.tok.pad_token_id, backbone.device)
        for index, score in zip(batch, backbone.scores(part, head).tolist(), strict=True):
            turn_scores[index] = score
    return turn_scores


def score_answers(
    folder: Path,
    prompts: Sequence[list[Message]],
    answers: Sequence[Sequence[str]],
    compute: ComputeConfig,
    base: BaseModelConfig,
    batch_size: int,
) -> list[list[float | None]]:
    """Return the score that the reward model in `folder` gives each of the answers to each prompt; None if empty.

    Equal answers to a prompt are scored once.

    Raises:
        UserError: the folder has no reward head for its model.
    """
    model = preparation.peft_adaptable(folder, None, compute, base)
    train_only(model, [])
    backbone = Backbone(model, loading.tokenizer(folder), compute)
    places = sorted({(at, text) for at, texts in enumerate(answers) for text in texts if text.strip()})
    turns = [encode(backbone.tok, prompts[at], [{"role": "assistant", "content": text}]) for at, text in places]
    found = dict(zip(places, scores(backbone, load_head(model, folder), turns, batch_size), strict=True))
    return [[found.get((at, text)) for text in texts] for at, texts in enumerate(answers)]


def save_head(head: nn.Linear, out: Path) -> None:
    """Write the head to the folder of its adapter."""
    save_file({key: value.contiguous().cpu() for key, value in head.state_dict().items()}, out / HEAD)


def load_head(model: PeftModel, directory: Path) -> nn.Linear:
    """Read the head that `save_head` wrote.

    Raises:
        UserError: the folder has no head, or that of another model.
    """
    head = scalar_head(model)
    try:
        head.load_state_dict(load_file(directory / HEAD))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{directory} has no reward head for this model; run the task 'reward' again.") from error
    return head.requires_grad_(False)
