"""A tiny adapter and a job to train it with, also in another process."""

from typing import Any

import peft
import torch
import yaml

from pipelines.config import Config
from pipelines.models.config import ComputeConfig
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import IGNORED, Example
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.step import Job
from tests.conftest import ROOT, tiny_model, tiny_tokenizer
from tests.support.recorder import Recorder

COMPUTE = ComputeConfig(seed=1, threads=1, device="cpu", precision="fp32")


def training(**changes: Any) -> TrainingConfig:
    """Return the block `training` of params.yaml with changes."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    return Config.model_validate(values).training.model_copy(update=changes)


def adapted(**options: Any) -> peft.PeftModel:
    """Return the tiny Llama with a seeded adapter whose update is not zero."""
    model = tiny_model(tiny_tokenizer())
    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    adapter = peft.get_peft_model(model, config)
    for name, value in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    assert isinstance(adapter, peft.PeftModel)
    return adapter


def examples(count: int = 8) -> list[Example]:
    """Return rows of very different lengths, of which some rehearse; a prompt's tokens have no label."""
    rows = []
    for number in range(count):
        ids = [(7 * number + 13 * place) % 500 + 3 for place in range(4 + 5 * (number % 4))]
        labels = [IGNORED] * (1 + number % 3) + ids[1 + number % 3 :]
        rows.append(Example(ids, labels, rehearsed=number % 3 == 2))
    return rows


def trained(model: peft.PeftModel, plan: list[list[int]], **changes: Any) -> Recorder:
    """Train `model` on `examples()`; return what was logged."""
    run = Recorder()
    job = Job("sft", 1e-2, 1, training(**changes), COMPUTE, run, Checkpoints())
    fit(model, LanguageModel(model, examples(), 0, rehearsal_weight=3.0), plan, job)
    return run


def weights(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    """Return copies of the trained weights."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
