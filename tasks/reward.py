"""Reward: a pairwise reward model, an adapter that starts from a policy's; one row of `alignment.reward`.

Reads the row's pairs and policy, and artifacts/base; writes the adapter, its tokenizer and head.safetensors to
artifacts/reward/<row>. Standalone: python -m tasks.reward first
"""

import sys
from pathlib import Path

from pipelines.alignment import reward_model
from pipelines.alignment.backbone import POLICY, Backbone, scalar_head, train_only
from pipelines.alignment.config import RewardConfig
from pipelines.alignment.sequences import as_rows, encode_pairs
from pipelines.curation.schema import read_pairs
from pipelines.models import adapters, devices, loading, saving
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.preflight.machine import check_adapter
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
    """Train and write the reward model; return its diagnostics on the held-out pairs.

    If `policy` has no adapter in PEFT's format, `tuning` configures a new one; otherwise a copy of it is trained on.

    Raises:
        UserError: the training cannot run on this machine, or the policy cannot be trained on.
    """
    tok = loading.tokenizer(policy)
    train, held_out = (read_pairs(pairs / f"{name}.jsonl") for name in ("train", "held_out"))
    encoded = encode_pairs(tok, train)
    items = [as_rows(pair, predicted=False) for pair in encoded]
    plan = reward_model.planned(encoded, config, compute.seed)
    training = check_adapter("reward", policy, items, plan, tuning, training, compute, base, out)
    model = preparation.peft_adaptable(policy, tuning, compute, base)
    train_only(model, [POLICY])
    backbone, head = Backbone(model, tok, compute), scalar_head(model)
    job = Job("reward", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    margins = [pair.margin for pair in train]
    new = None if adapters.continued(policy) else tuning
    reward_model.train(backbone, head, encoded, margins, config, job, new)
    found = reward_model.held_out(backbone, head, held_out, config.batch_size)
    for sentence in found.warnings():
        say(f"reward: {sentence}")
    saving.save_adapter(model, tok, out)
    reward_model.save_head(head, out)
    return found.metrics()


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
