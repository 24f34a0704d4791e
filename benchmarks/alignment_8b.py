"""PPO and GRPO of an 8B Llama with random weights in NF4 on one GPU, for benchmarks/alignment.py --shape 8b."""

import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig

from benchmarks import gpu_training
from benchmarks.alignment_trial import resized, trainer, write_adapters
from pipelines.alignment.rl import memory as rounds
from pipelines.alignment.rl.samples import Prompt
from pipelines.config import Config
from pipelines.evaluation.questions import Question
from pipelines.models import devices, loading, memory
from pipelines.models.chat import encode_prompt
from pipelines.models.memory import GIB
from pipelines.runtime.progress import say

PROMPTS, NEW_TOKENS, SAMPLES, MICROBATCH = 16, 256, 4, 4
QUESTION = 128  # tokens of a prompt, without the chat template


def random_prompts(directory: Path, count: int, tokens: int) -> list[Prompt]:
    """Return `count` prompts of about `tokens` random words."""
    tok, question = loading.tokenizer(directory), Question("", "", "answer", "", "", ("w1",), (), ())
    chats = [gpu_training.chat(8 * tokens, seed)[:1] for seed in range(count)]
    return [Prompt(encode_prompt(tok, messages), messages, "w1", question) for messages in chats]


def measure(method: str, policy: Path, reward: Path, prompts: list[Prompt], settings: Config) -> dict[str, float]:
    """Run two rounds; return the peak and estimated memory in GiB, and tokens per second of the second round.

    The tokens of a rollout are those of its answers, those of an update all tokens of prompts and answers.
    """
    where, block = devices.device(settings.compute), getattr(settings.rl, method)
    found: dict[str, float] = {}

    def work() -> None:
        online = trainer(method, policy, reward, settings)
        for _ in range(2):
            online.round(prompts, 0)
        answered = sum(len(each.response) for each in online.samples)
        read = answered + sum(len(each.prompt.ids) for each in online.samples)
        found["rollout_tokens_per_s"] = answered / online.seconds["rollout"]
        found["update_tokens_per_s"] = read / online.seconds["update"]

    found["peak_gib"] = gpu_training.measured(work, where)
    longest = max(len(each.ids) for each in prompts)
    attention: Literal["eager", "sdpa"] = "eager" if where.type == "cpu" else "sdpa"
    tuning, kind = settings.align.tuning, settings.base.quantization
    training = rounds.micro_batch(block, longest, tuning, kind, torch.bfloat16, attention=attention)
    shape = AutoConfig.from_pretrained(Path("artifacts/base"))
    traced = memory.trace(shape, training)
    assert traced is not None
    found["estimated_gib"] = rounds.estimate(shape, traced, training, block).total / GIB
    say(f"{method}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    return {f"{method}_{name}": round(value, 3) for name, value in found.items()}


def main(tiny: bool) -> dict[str, Any]:
    """Measure in a temporary project folder; return all figures."""
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = gpu_training.settings("nf4", 1024, 1, where)
    devices.prepare(settings.compute)
    count, length, tokens = (4, 8, 8) if tiny else (PROMPTS, NEW_TOKENS, QUESTION)
    settings = resized(settings, count, length, count // 2 if tiny else MICROBATCH, SAMPLES)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        base = gpu_training.store(gpu_training.shape(tiny), where)
        policy, reward = write_adapters(base, Path("adapters"), settings)
        prompts = random_prompts(base, count, tokens)
        figures: dict[str, float] = {}
        for method in ("ppo", "grpo"):
            figures |= measure(method, policy, reward, prompts, settings)
    return {"device": gpu_training.device_name(where), "shape": "tiny" if tiny else "8B", **figures}
