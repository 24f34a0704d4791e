"""Evaluation between training steps does not change the gradients of an adapter on NF4 weights."""

from pathlib import Path

import pytest
import torch

from pipelines.config import Config
from pipelines.models import loading
from pipelines.models.config import ComputeConfig, LoraConfig
from pipelines.training.examples import Example
from pipelines.training.trainer import labelled_loss, mean_loss

pytestmark = pytest.mark.slow

IDS = torch.tensor([[3, 50, 70, 90, 110]])


def test_gradients_are_the_same_after_an_evaluation(base: Path, config: Config) -> None:
    compute = ComputeConfig(seed=1, threads=1, device="cpu", precision="bf16")
    nf4 = config.base.model_copy(update={"quantization": "nf4"})
    model = loading.adaptable(base, LoraConfig(rank=4, alpha=8, dropout=0.0), compute, nf4)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)

    def gradients() -> list[torch.Tensor]:
        model.train()
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            labelled_loss(model, IDS, IDS).backward()
        return [weight.grad for weight in model.parameters() if weight.requires_grad and weight.grad is not None]

    before = gradients()
    assert mean_loss(model, [Example([3, 50, 70], [3, 50, 70])], compute) > 0
    after = gradients()
    assert len(before) == len(after) == 28
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
