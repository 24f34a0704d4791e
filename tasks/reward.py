"""Reward: a pairwise reward model, an adapter that starts from a policy's; one row of `alignment.reward`.

Reads the row's pairs and policy, and artifacts/base; writes the adapter, its tokenizer and head.safetensors to
artifacts/reward/<row>. Standalone: python -m tasks.reward first
"""

import sys
from pathlib import Path

from pipelines.alignment import reward_model
from pipelines.alignment.backbone import POLICY, Backbone, scalar_head, train_only
from pipelines.alignment.config import RewardConfig
from pipelines.alignment.sequences import encode_pairs
from pipelines.curation.schema import PreferencePair, read_pairs
from pipelines.models import devices, loading, saving
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.step import Job
from tasks import task


def reward(
    pairs: Path,
    policy: Path,
    out: Path,
    config: RewardConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
    tuning: TuningConfig | None = None,
) -> dict[str, float]:
    """Train and write the reward model; return its held-out pairwise accuracy, also by provenance.

    If `policy` has no adapter in PEFT's format, `tuning` configures a new one; otherwise a copy of it is trained on.
    """
    model = preparation.peft_adaptable(policy, tuning, compute, base)
    train_only(model, [POLICY])
    backbone, head = Backbone(model, loading.tokenizer(policy), compute), scalar_head(model)
    train, held_out = (read_pairs(pairs / f"{name}.jsonl") for name in ("train", "held_out"))
    job = Job("reward", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    reward_model.train(backbone, head, encode_pairs(backbone.tok, train), config.batch_size, job)
    correct = reward_model.accuracy(backbone, head, encode_pairs(backbone.tok, held_out), config.batch_size)
    saving.save_adapter(model, backbone.tok, out)
    reward_model.save_head(head, out)
    return accuracies(held_out, correct)


def accuracies(pairs: list[PreferencePair], correct: list[bool]) -> dict[str, float]:
    """Return the pairwise accuracy over all pairs and by provenance; a provenance without pairs is left out."""
    groups: dict[str, list[bool]] = {}
    for pair, is_correct in zip(pairs, correct, strict=True):
        groups.setdefault("held_out_accuracy", []).append(is_correct)
        groups.setdefault(f"held_out_accuracy_{pair.provenance}", []).append(is_correct)
    return {name: sum(group) / len(group) for name, group in sorted(groups.items())}


def main(name: str) -> None:
    """Train the reward model of a row of `alignment.reward`."""
    with task("reward", name, parallel=True) as t:
        settings, row = t.config, t.config.alignment.reward[name]
        devices.prepare(settings.compute)
        t.finish(
            reward(
                t.input(f"pairs/{row.pairs}"),
                t.input(row.policy),
                t.out,
                settings.reward,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                Checkpoints(t.place),
                settings.align.tuning,
            )
        )


if __name__ == "__main__":
    main(sys.argv[1])
