"""Rounds of PPO and GRPO as the pipeline runs them, timed by phase, and the peak memory of a round or an SFT step.

All answers have the same length: the sampler has no stop token. Adapters are random, so that no two of them are equal.
"""

import random
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from torch import nn

from pipelines import config
from pipelines.alignment.backbone import (
    POLICY,
    REFERENCE,
    REWARD,
    VALUE,
    Backbone,
    clone,
    named_weights,
    scalar_head,
    train_only,
)
from pipelines.alignment.reward_model import save_head
from pipelines.alignment.rewards.functions import Verdict, from_model
from pipelines.alignment.rl.config import RLBlock
from pipelines.alignment.rl.experience import Experience
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.ppo import PPO
from pipelines.alignment.rl.rollout import Sampler
from pipelines.alignment.rl.samples import Prompt, Sample
from pipelines.alignment.rl.trainer import Actors, Trainer
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.questions import Question
from pipelines.models import devices, loading, saving
from pipelines.models.chat import encode_prompt
from pipelines.models.tuning import preparation
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import IGNORED, Example
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.step import Job
from tests.support.recorder import Recorder

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
UPDATE = 0.01  # standard deviation of the random weights B of the adapters, and of the heads
PHASES = ("rollout", "scoring", "update")


def parameters(tiny: bool, prompts: int, new_tokens: int, threads: int | None = None) -> Config:
    """Return the parameters of the project with rounds of PPO of the given size, in two optimiser steps."""
    settings = config.load(ROOT / "params.yaml")
    changes = {"device": "cpu", "threads": 1} if tiny else {"threads": threads or settings.compute.threads}
    settings = settings.model_copy(update={"compute": settings.compute.model_copy(update=changes)})
    return resized(settings, prompts, new_tokens, microbatch=prompts // 2)


def resized(settings: Config, prompts: int, new_tokens: int, microbatch: int, samples: int = 4) -> Config:
    """Return `settings` with rounds of `prompts` in two optimiser steps; GRPO has `samples` answers to each."""
    values = settings.model_dump(mode="json")
    for name, size in (("ppo", 1), ("grpo", samples)):
        sizes = {"prompts": prompts, "samples": size, "minibatch": prompts * size // 2, "microbatch": microbatch}
        values["rl"][name] |= sizes | {"max_new_tokens": new_tokens, "reward": {"model": 1.0}}
    values["rl"]["ppo"] |= {"critic_warmup": 0}
    return Config.model_validate(values)


def asked(directory: Path, count: int, seed: int) -> list[Prompt]:
    """Return `count` validation questions of the project as prompts for the model in `directory`."""
    tok = loading.tokenizer(directory)
    found = questions.of_split(questions.VALIDATION, ROOT / "data/questions")
    return [_prompt(tok, each) for each in random.Random(seed).sample(found, count)]


def _prompt(tok: Any, question: Question) -> Prompt:
    messages = [{"role": "user", "content": question.question}]
    return Prompt(encode_prompt(tok, messages), messages, " ".join(question.accepted[:1]), question)


def write_adapters(base: Path, folder: Path, settings: Config) -> tuple[Path, Path]:
    """Write a policy and a reward model with random adapters of `align.tuning`; return their folders."""
    model = preparation.peft_adaptable(base, settings.align.tuning, settings.compute, settings.base)
    tok, head = loading.tokenizer(base), scalar_head(model)
    for name in ("policy", "reward"):
        for key, weight in named_weights(model, POLICY).items():
            if "lora_B" in key:
                nn.init.normal_(weight, std=UPDATE)
        saving.save_adapter(model, tok, folder / name)
    nn.init.normal_(head.weight, std=UPDATE)
    save_head(head, folder / "reward")
    return folder / "policy", folder / "reward"


class Clocked(Trainer):
    """A trainer that records the seconds of each phase of a round, and the answers."""

    seconds: dict[str, float]
    samples: list[Sample]

    def answer(self, prompts: Sequence[Prompt]) -> list[Sample]:
        """Time the rollout."""
        self.samples, seconds = timed(lambda: super(Clocked, self).answer(prompts))
        self.seconds = {"rollout": seconds}
        return self.samples

    def collect(self, samples: Sequence[Sample]) -> list[Experience]:
        """Time the scoring."""
        found, self.seconds["scoring"] = timed(lambda: super(Clocked, self).collect(samples))
        return found

    def update(self, rollouts: list[Experience], number: int) -> dict[str, float]:
        """Time the update."""
        found, self.seconds["update"] = timed(lambda: super(Clocked, self).update(rollouts, number))  # type: ignore[safe-super]
        return found


class ClockedPPO(Clocked, PPO):
    """PPO with times."""


class ClockedGRPO(Clocked, GRPO):
    """GRPO with times."""


def isolated(work: Callable[..., T], *arguments: Any) -> T:
    """Return the result of `work` in a new process, which then has all memory and the GPU for itself."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of `work` and its seconds: on a GPU by the clock, else the processor time of this process."""
    if not torch.cuda.is_available():
        began = time.process_time()
        return work(), time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = work()
    torch.cuda.synchronize()
    return found, time.perf_counter() - began


def trainer(method: str, policy: Path, reward: Path, settings: Config) -> Clocked:
    """Return the trainer of `method`, ppo or grpo, with the adapters in the two folders, as the task `rl` does."""
    block: RLBlock = getattr(settings.rl, method)
    model = preparation.peft_adaptable(policy, None, settings.compute, settings.base)
    backbone = Backbone(model, loading.tokenizer(policy), settings.compute)
    clone(model, POLICY, REFERENCE)
    score = from_model(backbone, reward, block.microbatch)
    sampler = Sampler(backbone, [], block.max_new_tokens, block.temperature, block.prompts * block.samples)
    verdict = Verdict(settings.curate.refusal, settings.evaluate.max_extra_words, block.confidence_target)
    actors = Actors(backbone, sampler, score, verdict)
    if method == "grpo":
        train_only(model, [POLICY])
        return ClockedGRPO(actors, block, settings.compute.seed)
    clone(model, REWARD, VALUE)
    train_only(model, [POLICY, VALUE])
    ppo = ClockedPPO(actors, settings.rl.ppo, settings.compute.seed)
    nn.init.normal_(ppo.value_head.weight, std=UPDATE)
    return ppo


def round_peak(policy: Path, reward: Path, prompts: list[Prompt], settings: Config) -> int:
    """Return the peak memory of the second of two rounds of PPO, when the optimisers have their states, in bytes."""
    before = _start(settings)
    ppo = trainer("ppo", policy, reward, settings)
    for _ in range(2):
        ppo.round(prompts, 0)
    return _peak() - before


def step_peak(policy: Path, prompts: list[Prompt], settings: Config) -> int:
    """Return the peak memory of the second of two SFT steps on as many tokens as PPO's micro-batch has, in bytes.

    The rows are prompts with answers of the greatest length of a rollout, whose tokens are learnt.
    """
    before = _start(settings)
    tok, block = loading.tokenizer(policy), settings.rl.ppo
    model = preparation.peft_adaptable(policy, None, settings.compute, settings.base)
    longest = sorted((each.ids for each in prompts), key=len)[-block.microbatch :]
    answer = list(range(10, 10 + block.max_new_tokens))
    rows = [Example(ids + answer, [IGNORED] * len(ids) + answer) for ids in longest]
    run: Any = Recorder()
    job = Job("sft", settings.sft.learning_rate, 1, settings.training, settings.compute, run, Checkpoints())
    fit(model, LanguageModel(model, rows, tok.pad_token_id), [list(range(len(rows)))] * 2, job)
    return _peak() - before


def _start(settings: Config) -> int:
    """Prepare the device; return the memory that the process has without a model."""
    return 0 if devices.prepare(settings.compute).type == "cuda" else int(psutil.Process().memory_info().rss)


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
