"""Fixtures of the tests that align a tiny model: an SFT adapter, pairs with a rule to learn, and few steps."""

from pathlib import Path

import pytest
import torch

from pipelines.artifacts import Row, write_rows
from pipelines.config import Config
from pipelines.models import loading, saving
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from tests.support.alignment import say

WORDS = ["mill", "tide", "quay", "well", "lamp", "bell", "ferry", "harbour"]


@pytest.fixture
def sft(base: Path, config: Config) -> Path:
    """Return an SFT adapter with random weights."""
    model = preparation.adaptable(base, TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8}), config.compute)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    saving.save_adapter(model, loading.tokenizer(base), Path("artifacts/sft"))
    return Path("artifacts/sft")


@pytest.fixture
def pairs(project: Path) -> Path:
    """Write pairs with a rule to learn, `good` is preferred to `bad`, and their prompts for online training."""
    rows: list[Row] = [
        {
            "prompt": say("user", f"What of the {word}, number {number}?"),
            "chosen": say("assistant", "good"),
            "rejected": say("assistant", "bad"),
            "kind": "answer",
            "source": None,
            "reference": "good",
            "provenance": "sample" if number % 2 else "refusal",
            "margin": 1.0,
        }
        for number in range(5)
        for word in WORDS
    ]
    directory = Path("artifacts/pairs/first")
    directory.mkdir(parents=True)
    write_rows(directory / "train.jsonl", rows[:32])
    write_rows(directory / "held_out.jsonl", rows[32:])
    prompts: list[Row] = [{"messages": row["prompt"] + say("assistant", "good"), "kind": "answer"} for row in rows]
    write_rows(directory / "online.jsonl", prompts[:32])
    write_rows(directory / "online_held_out.jsonl", prompts[32:])
    return directory


@pytest.fixture
def quick(config: Config) -> Config:
    """Return parameters with fewer and larger steps."""
    small = {"iterations": 2, "prompts": 8, "minibatch": 8, "microbatch": 4, "epochs": 1, "max_new_tokens": 4}
    values = config.model_dump(mode="json")
    values["align"]["dpo"] |= {"learning_rate": 5e-3, "epochs": 2, "batch_size": 8}
    values["rl"]["ppo"] |= small | {"learning_rate": 1e-3, "critic_warmup": 1}
    values["rl"]["grpo"] |= small | {"prompts": 4, "samples": 2, "learning_rate": 1e-3}
    values["reward"] |= {"learning_rate": 1e-2, "epochs": 3, "batch_size": 8}
    values["alignment"]["rl"]["grpo"] = {**values["alignment"]["rl"]["ppo"], "method": "grpo", "scorer": "curate"}
    return Config.model_validate(values)
