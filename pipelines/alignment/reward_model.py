"""The reward model: an adapter on the policy's backbone, and a head that scores the end-of-turn token.

A plain loop instead of TRL's RewardTrainer, because PPO keeps policy and reward model on one backbone. TRL's
model is an AutoModelForSequenceClassification, whose head is part of the model and scores the last token of the
chat template (a newline, here). This loop scores with `Backbone.scores`, as PPO does, so both use the same
position, and it batches by length, which TRL cannot do for pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from pipelines.alignment.backbone import POLICY, Backbone, named_head, named_weights, scalar_head, train_only
from pipelines.alignment.losses import pair_loss
from pipelines.alignment.sequences import Pair, Turn, by_length, collate, encode, plan_pairs
from pipelines.models import loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter, track
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints, pack, unpack

HEAD = "head.safetensors"
WARMUP = 0.1  # share of the steps with a rising learning rate
GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of the training loop."""

    learning_rate: float
    epochs: int
    batch_size: int
    seed: int


def train(
    backbone: Backbone, head: nn.Linear, pairs: list[Pair], settings: Settings, run: Run, checkpoints: Checkpoints
) -> None:
    """Train the active adapter of `backbone` and `head` to prefer the first of each pair (Bradley-Terry).

    Raises:
        UserError: the loss becomes NaN.
    """
    plan = [
        batch
        for epoch in range(settings.epochs)
        for batch in plan_pairs(pairs, settings.batch_size, settings.seed + epoch)
    ]
    weights = named_weights(backbone.model, POLICY) | named_head(head)
    optimizer = torch.optim.AdamW(list(weights.values()), lr=settings.learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP * len(plan)), len(plan))
    done = 0
    if saved := checkpoints.latest():
        unpack(saved.tensors, weights, optimizer)
        schedule.load_state_dict(saved.facts["schedule"])
        optimizer.param_groups[0]["lr"] = schedule.get_last_lr()[0]
        done = saved.step
    meter = Meter("reward", len(plan), done)
    with checkpoints.guarded():
        for number, batch in enumerate(plan[done:], done + 1):
            chosen, rejected = margins(backbone, head, [pairs[index] for index in batch])
            loss = pair_loss(chosen, rejected).mean()
            value = float(loss.detach())
            accuracy, epoch = float((chosen > rejected).float().mean()), number / len(plan) * settings.epochs
            run.curve({"loss": value, "accuracy": accuracy, "epoch": epoch}, number)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            meter.step(note=f"loss {value:.3f}")
            checkpoints.step(number, lambda: (pack(weights, optimizer), {"schedule": schedule.state_dict()}))
    meter.close()


def margins(backbone: Backbone, head: nn.Linear, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
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
    model = loading.adaptable(folder, None, compute, base)
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
