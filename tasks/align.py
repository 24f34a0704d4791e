"""Align: train the SFT model on preferences with DPO, or another loss on pairs, or PPO.

Reads artifacts/preferences, artifacts/sft, artifacts/base, and for ppo artifacts/reward; writes an adapter to
artifacts/align/<method>. Standalone: python -m tasks.align dpo
"""

import sys
from pathlib import Path

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.config import PPOBlock, PreferenceBlock
from pipelines.alignment.experience import assemble
from pipelines.alignment.offline import preference
from pipelines.alignment.ppo import PPO
from pipelines.alignment.rollout import Sampler
from pipelines.alignment.sequences import encode_pairs
from pipelines.curation.schema import read_pairs
from pipelines.models import devices, loading, saving
from pipelines.models.chat import encode_prompt
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.head import checked_head
from pipelines.models.templates.stops import stop_ids
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import Run
from pipelines.training import activations
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.step import Job
from tasks import task


def dpo(
    preferences: Path,
    sft: Path,
    out: Path,
    config: PreferenceBlock,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
    tuning: TuningConfig | None = None,
) -> dict[str, float]:
    """Train on the pairs with the loss `config.loss` and write the adapter; return the metrics of the last steps.

    If `sft` has no adapter in PEFT's format, `tuning` configures a new one; otherwise it is trained on. So in `ppo`.
    """
    backbone = Backbone(preparation.peft_adaptable(sft, tuning, compute, base), loading.tokenizer(sft), compute)
    pairs = encode_pairs(backbone.tok, read_pairs(preferences / "train.jsonl"))
    job = Job("align.dpo", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    metrics = preference.train(backbone, pairs, config, job)
    saving.save_adapter(backbone.model, backbone.tok, out)
    return metrics


def ppo(
    preferences: Path,
    sft: Path,
    reward: Path,
    out: Path,
    config: PPOBlock,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    run: Run,
    checkpoints: Checkpoints,
    tuning: TuningConfig | None = None,
) -> dict[str, float]:
    """Train with PPO on rollouts scored by the reward model; write the adapter, return first and last metrics."""
    backbone = Backbone(preparation.peft_adaptable(sft, tuning, compute, base), loading.tokenizer(sft), compute)
    checked_head(backbone.model)
    actors = assemble(backbone, reward)
    stops = stop_ids(backbone.model, backbone.tok)
    sampler = Sampler(backbone, stops, config.max_new_tokens, config.temperature, config.prompts)
    pairs = read_pairs(preferences / "train.jsonl")
    prompts = dict.fromkeys(tuple(encode_prompt(backbone.tok, pair.prompt)) for pair in pairs)
    trainer = PPO(actors, sampler, config, compute.seed)
    tokens = config.microbatch * (config.max_new_tokens + max(map(len, prompts), default=0))
    model = backbone.model
    recompute = activations.worthwhile(training.checkpointing, model.config, tokens, backbone.device)
    with activations.recomputed(model, recompute):
        history = trainer.train([list(prompt) for prompt in prompts], run, checkpoints)
    saving.save_adapter(backbone.model, backbone.tok, out)
    ends = {"first": history[0], "last": history[-1]}
    return {f"{name}_{when}": ends[when][name] for name in ("score", "kl", "length") for when in ends}


def main(method: str) -> None:
    """Run the method named on the command line.

    Raises:
        UserError: the method is unknown.
    """
    with task("align", method, parallel=method == "dpo") as t:
        settings, checkpoints = t.config, Checkpoints(t.place)
        devices.prepare(settings.compute)
        preferences, sft = t.input("preferences"), t.input("sft")
        if method == "dpo":
            metrics = dpo(
                preferences,
                sft,
                t.out,
                settings.align.dpo,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                checkpoints,
                settings.align.tuning,
            )
        elif method == "ppo":
            metrics = ppo(
                preferences,
                sft,
                t.input("reward"),
                t.out,
                settings.align.ppo,
                settings.training,
                settings.compute,
                settings.base,
                t.run,
                checkpoints,
                settings.align.tuning,
            )
        else:
            raise UserError(
                f"There is no alignment method {method!r}; align.methods in params.yaml accepts dpo and ppo."
            )
        t.finish(metrics)


if __name__ == "__main__":
    main(sys.argv[1])
