"""Align: train the SFT model on preferences with DPO, or another loss on pairs, or online with PPO or GRPO.

Reads artifacts/preferences, artifacts/sft, artifacts/base, and artifacts/reward if it is a reward of the method; writes
an adapter to artifacts/align/<method>. If `judge` is a reward, it loads or calls the model of teacher.roles.judge.
Standalone: python -m tasks.align dpo
"""

import random
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.backbone import POLICY, REFERENCE, REWARD, VALUE, Backbone, clone, train_only
from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.offline import preference
from pipelines.alignment.rl import health
from pipelines.alignment.rl.config import GRPOBlock, PPOBlock, RLBlock
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.judge_reward import from_judge
from pipelines.alignment.rl.ppo import PPO
from pipelines.alignment.rl.reward_functions import RewardFn, Verdict, WeightedReward, from_function, from_model
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.samples import Prompt, distinct_prompts
from pipelines.alignment.rl.trainer import Actors, Trainer
from pipelines.alignment.sequences import encode_pairs
from pipelines.config import Config
from pipelines.curation.schema import read_pairs
from pipelines.models import devices, loading, saving
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.head import checked_head
from pipelines.models.templates.stops import stop_ids
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
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

    If `sft` has no adapter in PEFT's format, `tuning` configures a new one; otherwise it is trained on.
    """
    backbone = Backbone(preparation.peft_adaptable(sft, tuning, compute, base), loading.tokenizer(sft), compute)
    pairs = encode_pairs(backbone.tok, read_pairs(preferences / "train.jsonl"))
    job = Job("align.dpo", config.learning_rate, config.epochs, training, compute, run, checkpoints)
    metrics = preference.train(backbone, pairs, config, job)
    saving.save_adapter(backbone.model, backbone.tok, out)
    return metrics


def reinforce(
    method: str,
    preferences: Path,
    sft: Path,
    reward: Path | None,
    out: Path,
    config: Config,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train with `method`, ppo or grpo, on rollouts to the prompts of the pairs; write the adapter of the best round.

    `reward` is the folder of the reward model, needed if the block of the method names it. Returns the metrics of the
    first, the best and the last round.
    """
    block: RLBlock = getattr(config.align, method)
    parameter = f"align.{method}.reward"
    verdict = Verdict(config.curate.refusal, config.evaluate.max_extra_words, block.confidence_target)
    rewards: dict[str, RewardFn] = {name: from_function(name, parameter) for name in block.reward if ":" in name}
    rewards["verdict"] = verdict
    if "judge" in block.reward:
        teacher, synthesis = config.teacher, config.synthesize
        rewards["judge"] = from_judge(
            teacher, config.base, config.compute, synthesis.batch_size, synthesis.prompts, parameter
        )
    tok = loading.tokenizer(sft)
    model = preparation.peft_adaptable(sft, config.align.tuning, config.compute, config.base)
    backbone = Backbone(model, tok, config.compute)
    checked_head(model)
    clone(model, POLICY, REFERENCE)
    if "model" in block.reward:
        assert reward is not None, "the reward model is an input if it is a reward"
        rewards["model"] = from_model(backbone, reward, block.microbatch)
    score = WeightedReward(
        {name: (weight, rewards[name]) for name, weight in block.reward.items()}, parameter, backbone.device
    )
    sampler = Sampler(
        backbone,
        stop_ids(model, tok),
        block.max_new_tokens,
        block.temperature,
        batch_size=block.prompts * block.samples,
    )
    trainer = _trainer(Actors(backbone, sampler, score, verdict), block, config.compute.seed)
    prompts, held_out = _prompts(preferences, tok, method, block.health.prompts, config.compute.seed)
    tokens = block.microbatch * (block.max_new_tokens + max(len(prompt.ids) for prompt in prompts))
    recompute = activations.worthwhile(config.training.checkpointing, model.config, tokens, backbone.device)
    with activations.recomputed(model, recompute):
        trainer.train(prompts, held_out, run, checkpoints)
    saving.save_adapter(model, tok, out)
    return health.summary(trainer.history, trainer.best.number, trainer.stop)


def _trainer(actors: Actors, block: RLBlock, seed: int) -> Trainer:
    """Return the trainer of `block`; PPO's critic starts from the reward model, or else from the policy."""
    model = actors.backbone.model
    if isinstance(block, GRPOBlock):
        train_only(model, [POLICY])
        return GRPO(actors, block, seed)
    assert isinstance(block, PPOBlock)
    clone(model, REWARD if REWARD in model.peft_config else POLICY, VALUE)
    train_only(model, [POLICY, VALUE])
    return PPO(actors, block, seed)


def _prompts(
    preferences: Path, tok: PreTrainedTokenizerBase, method: str, held_out: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Return the prompts to train on, and at most `held_out` of those to choose the round by."""
    train, held = (distinct_prompts(tok, read_pairs(preferences / f"{name}.jsonl")) for name in ("train", "held_out"))
    if not held:
        say(
            f"align.{method}: no prompt is held out, so the round is chosen on training prompts; raise "
            "preferences.held_out_share or preferences.prompts."
        )
        held = train
    return train, random.Random(seed).sample(held, min(held_out, len(held)))


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
        elif method in ("ppo", "grpo"):
            block: RLBlock = getattr(settings.align, method)
            reward = t.input("reward") if "model" in block.reward else None
            metrics = reinforce(method, preferences, sft, reward, t.out, settings, t.run, checkpoints)
        else:
            raise UserError(
                f"There is no alignment method {method!r}; align.methods in params.yaml accepts dpo, ppo and grpo."
            )
        t.finish(metrics)


if __name__ == "__main__":
    main(sys.argv[1])
