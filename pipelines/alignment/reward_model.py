"""The reward model: an adapter on the policy's backbone, and a head that scores the end-of-turn token.

TRL's RewardTrainer trains a model of another class, whose head is part of it and scores the last token of the chat
template (a newline, here). This objective scores with `Backbone.scores`, as PPO does, so both use the same position.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.alignment.backbone import POLICY, Backbone, named_head, named_weights, scalar_head, train_only
from pipelines.alignment.config import RewardConfig
from pipelines.alignment.losses import pair_loss
from pipelines.alignment.reward_diagnostics import HeldOut
from pipelines.alignment.sequences import (
    Pair,
    Turn,
    by_length,
    by_prompt,
    collate,
    encode,
    encode_pairs,
    pair_sizes,
    plan_prompts,
)
from pipelines.curation.schema import PreferencePair
from pipelines.models import adapters, loading
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.messages import Message
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track
from pipelines.training.loop import fit
from pipelines.training.step import Job, Loss
from pipelines.training.tuning import hooks

HEAD = "head.safetensors"


@dataclass(frozen=True)
class BradleyTerry:
    """The loss of the pairs (`losses.pair_loss`), in which every prompt weighs 1, and its pairs equal parts of it.

    The pairs of K ranked answers are correlated, so they share a step and the weight of one comparison (Ouyang et al.
    2022, arXiv:2203.02155, section 3.5).
    """

    backbone: Backbone
    head: nn.Linear
    pairs: Sequence[Pair]
    margins: Sequence[float]
    """The difference in score that each pair is to exceed."""
    centering: float
    """Weight of the squared sum of a pair's scores."""

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of each pair."""
        return pair_sizes(self.pairs)

    @cached_property
    def weights(self) -> list[float]:
        """Weight of each pair: 1 / number of pairs of its prompt."""
        weights = [0.0] * len(self.pairs)
        for rows in by_prompt(self.pairs):
            for row in rows:
                weights[row] = 1 / len(rows)
        return weights

    def __call__(self, model: PeftModel, items: Sequence[int]) -> Loss:
        """Return the weighted sum of the losses of the pairs `items`, with the pairwise accuracy as a metric."""
        chosen, rejected = pair_scores(self.backbone, self.head, [self.pairs[item] for item in items])
        weights, margins = (chosen.new_tensor([each[item] for item in items]) for each in (self.weights, self.margins))
        losses = pair_loss(chosen, rejected, margins, self.centering)
        correct = (chosen > rejected).float()
        return Loss((weights * losses).sum(), float(weights.sum()), {"accuracy": (weights * correct).sum()})


def planned(pairs: Sequence[Pair], config: RewardConfig, seed: int) -> list[list[int]]:
    """Return the pairs of every step of all epochs."""
    return [batch for epoch in range(config.epochs) for batch in plan_prompts(pairs, config.batch_size, seed + epoch)]


def train(
    backbone: Backbone,
    head: nn.Linear,
    pairs: list[Pair],
    margins: Sequence[float],
    config: RewardConfig,
    job: Job,
    tuning: TuningConfig | None = None,
) -> None:
    """Train the active adapter of `backbone` and `head` to prefer the first of each pair (Bradley-Terry).

    `margins` are the differences in quality of the pairs; `config.margin_scale` turns them into differences in score.
    `tuning` is the method of a new adapter; None: the adapter is continued.

    Raises:
        UserError: the loss becomes NaN, or the steps are too few for the method.
    """
    plan = planned(pairs, config, job.compute.seed)
    weights = named_weights(backbone.model, POLICY) | named_head(head)
    scaled = [config.margin_scale * margin for margin in margins]
    objective = BradleyTerry(backbone, head, pairs, scaled, config.centering)
    method = hooks.method(backbone.model, tuning, len(plan))
    fit(backbone.model, objective, plan, job, weights, method=method)


def pair_scores(backbone: Backbone, head: nn.Linear, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return the scores [B] of the chosen and of the rejected turns, from one forward pass over the distinct turns."""
    turns = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    keys = [(tuple(prompt), tuple(answer)) for prompt, answer in turns]
    distinct = dict(zip(keys, turns, strict=True))
    rows = {key: row for row, key in enumerate(distinct)}
    found = backbone.scores(collate(list(distinct.values()), backbone.tok.pad_token_id, backbone.device), head)
    chosen, rejected = found[[rows[key] for key in keys]].chunk(2)
    return chosen, rejected


def batch_scores(
    backbone: Backbone, head: nn.Linear, turns: Sequence[Turn], batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the indices of the turns of each batch, which are of similar length, and their scores."""
    for rows in by_length(turns, batch_size):
        batch = collate([turns[row] for row in rows], backbone.tok.pad_token_id, backbone.device)
        with torch.no_grad():
            found = backbone.scores(batch, head)
        yield rows, found


def scores(backbone: Backbone, head: nn.Linear, turns: list[Turn], batch_size: int) -> list[float]:
    """Return the score of each turn."""
    found = torch.zeros(len(turns))
    batches, count = batch_scores(backbone, head, turns, batch_size), math.ceil(len(turns) / batch_size)
    for rows, part in track(batches, "batches to the reward model", count):
        found[rows] = part.cpu()
    return found.tolist()


def held_out(backbone: Backbone, head: nn.Linear, pairs: Sequence[PreferencePair], batch_size: int) -> HeldOut:
    """Score held-out pairs, for their diagnostics."""
    encoded = encode_pairs(backbone.tok, pairs)
    found = scores(backbone, head, [turn for side in zip(*encoded, strict=True) for turn in side], batch_size)
    return HeldOut(pairs, encoded, found[: len(pairs)], found[len(pairs) :])


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


def add(backbone: Backbone, folder: Path, name: str) -> nn.Linear:
    """Add the adapter of the reward model in `folder` to `backbone` as `name`, and return its head.

    Raises:
        UserError: it adapts another model than the policy does, or by another method, or has no head for this model.
    """
    below, own = adapters.parent(folder), Path(backbone.model.get_base_model().config._name_or_path)
    if below is None or adapters.identity(below) != adapters.identity(own):
        raise UserError(
            f"The reward model in {folder} adapts {below or 'no other model'}, and the policy adapts {own}: train the "
            "reward model on the policy, or on another adapter of the same model."
        )
    kind = backbone.model.peft_config[POLICY].peft_type.value
    if adapters.method(folder) != kind:
        raise UserError(
            f"The reward model in {folder} is an adapter of the method {adapters.method(folder)}, and the policy's is "
            f"{kind}; a model carries adapters of one method only, so train the reward model on the policy."
        )
    backbone.model.load_adapter(folder, adapter_name=name)
    return load_head(backbone.model, folder)


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
