"""RL: train a model on its own samples with PPO or GRPO; one row of `alignment.rl`.

Reads the online prompts of the row's pairs, its policy, artifacts/base, and the reward model that is its scorer if
`model` is among the rewards; writes the adapter of the best round to artifacts/rl/<row>. Standalone:
python -m tasks.rl ppo
"""

import random
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.backbone import POLICY, REFERENCE, REWARD, VALUE, Backbone, clone, train_only
from pipelines.alignment.preferences.online_prompts import ONLINE, ONLINE_HELD_OUT
from pipelines.alignment.rewards.functions import RewardFn, Verdict, WeightedReward, from_function, from_model
from pipelines.alignment.rewards.judge import from_judge
from pipelines.alignment.rl import health, memory
from pipelines.alignment.rl.config import GRPOBlock, PPOBlock, RLBlock
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.ppo import PPO
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.samples import Prompt, distinct_prompts
from pipelines.alignment.rl.trainer import Actors, Trainer
from pipelines.alignment.rows import is_model
from pipelines.config import Config
from pipelines.curation.schema import read_training_rows
from pipelines.models import adapters, devices, loading, saving
from pipelines.models.head import checked_head
from pipelines.models.templates.stops import stop_ids
from pipelines.models.tuning import preparation
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.runtime.tracking import Run
from pipelines.training import activations
from pipelines.training.checkpoints import Checkpoints, read
from tasks import task


def rl(
    name: str,
    pairs: Path,
    policy: Path,
    scorer: Path,
    out: Path,
    config: Config,
    run: Run,
    checkpoints: Checkpoints,
) -> dict[str, float]:
    """Train on rollouts to the online prompts of `pairs`; write the adapter of the best round.

    `name` is the row of `alignment.rl`; `scorer` is the folder of its reward model, if there is one, or of a model that
    judges. Returns the metrics of the first, the best and the last round.
    """
    block = config.online(name)
    verdict = Verdict(config.curate.refusal, config.evaluate.max_extra_words, block.confidence_target)
    tok, (start, _) = loading.tokenizer(policy), adapters.lineage(policy)
    prompts, held_out = _prompts(name, pairs, tok, block.health.prompts, config.compute.seed)
    longest = max(len(prompt.ids) for prompt in prompts + held_out)
    _check_context(name, longest, start, config)
    continued = adapters.continued(policy)
    tuning = adapters.tuning(policy) if continued else config.align.tuning
    tuning.check_copies(f"rl@{name}", f"the method of {policy}" if continued else "align.tuning.method")
    common = config.training, config.compute, config.base
    recompute = memory.check(f"rl@{name}", start, longest, block, tuning, *common)
    model = preparation.peft_adaptable(policy, config.align.tuning, config.compute, config.base)
    backbone = Backbone(model, tok, config.compute)
    checked_head(model)
    clone(model, POLICY, REFERENCE)
    resumed = any(map(read, reversed(checkpoints.places())))
    score = _reward(name, backbone, verdict, scorer, config, resumed)
    sampler = Sampler(
        backbone,
        stop_ids(model, tok),
        block.max_new_tokens,
        block.temperature,
        batch_size=block.prompts * block.samples,
    )
    trainer = _trainer(Actors(backbone, sampler, score, verdict), block, config.compute.seed)
    with activations.recomputed(model, recompute):
        trainer.train(prompts, held_out, run, checkpoints)
    saving.save_adapter(model, tok, out)
    return health.summary(trainer.history, trainer.best.number, trainer.stop)


def _check_context(name: str, longest: int, start: Path, config: Config) -> None:
    """Check that the whole model in `start` has a position for each token of the longest prompt and its answer.

    Raises:
        UserError: it has not.
    """
    limit, answer = loading.positions(start), config.online(name).max_new_tokens
    if limit is not None and longest + answer > limit:
        raise UserError(
            f"rl@{name}: a prompt has {longest} tokens, and the model's context of {limit} leaves room for "
            f"{limit - answer}; lower rl.{config.alignment.rl[name].method}.max_new_tokens or pairs.max_tokens."
        )


def _reward(
    name: str, backbone: Backbone, verdict: Verdict, scorer: Path, config: Config, resumed: bool
) -> WeightedReward:
    """Return the weighted sum of the row's rewards."""
    block, parameter = config.online(name), f"rl@{name}: reward"
    rewards: dict[str, RewardFn] = {each: from_function(each, parameter) for each in block.reward if ":" in each}
    rewards["verdict"] = verdict
    if "model" in block.reward:
        rewards["model"] = from_model(backbone, scorer, block.microbatch)
    if "judge" in block.reward:
        folder = scorer if is_model(config.alignment.rl[name].scorer) else None
        how = config.teacher, config.base, config.compute, config.synthesize.batch_size, config.synthesize.prompts
        rewards["judge"] = from_judge(*how, parameter, folder, resumed)
    parts = {each: (weight, rewards[each]) for each, weight in block.reward.items()}
    return WeightedReward(parts, parameter, backbone.device)


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
    name: str, pairs: Path, tok: PreTrainedTokenizerBase, held_out: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Return the prompts to train on, and at most `held_out` of those to choose the round by.

    Raises:
        UserError: there is no prompt to train on.
    """
    train, held = (distinct_prompts(tok, read_training_rows(pairs / file)) for file in (ONLINE, ONLINE_HELD_OUT))
    if not train:
        raise UserError(
            f"rl@{name}: {pairs / ONLINE} has no prompt; raise pairs.online_prompts or lower pairs.held_out_share."
        )
    if not held:
        say(
            f"rl@{name}: no prompt is held out, so the round is chosen on training prompts; raise pairs.held_out_share "
            "or pairs.online_prompts."
        )
        held = train
    return train, random.Random(seed).sample(held, min(held_out, len(held)))


def main(name: str) -> None:
    """Train the model of a row of `alignment.rl`."""
    with task("rl", name) as t:
        settings, row = t.config, t.config.alignment.rl[name]
        devices.prepare(settings.compute)
        pairs, policy, scorer = t.input(f"pairs/{row.prompts}"), t.input(row.policy), t.input(row.scorer)
        t.finish(rl(name, pairs, policy, scorer, t.out, settings, t.run, Checkpoints(t.place)))


if __name__ == "__main__":
    main(sys.argv[1])
