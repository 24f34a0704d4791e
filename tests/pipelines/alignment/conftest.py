"""A tiny backbone with policy, reference, value and reward adapters; only policy and reference are equal."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from pipelines.alignment.backbone import (
    POLICY,
    REFERENCE,
    REWARD,
    VALUE,
    Backbone,
    clone,
    named_weights,
    train_only,
)
from pipelines.alignment.sequences import Turn
from pipelines.config import Config
from pipelines.models import loading
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})


def randomize(backbone: Backbone, name: str, seed: int, scale: float = 0.05) -> None:
    """Give the adapter `name` random weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in list(named_weights(backbone.model, name).values()):
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def gradients(parameters: Iterable[torch.nn.Parameter]) -> list[torch.Tensor]:
    """Return the gradient that each of `parameters` has, and reset it."""
    found = []
    for parameter in parameters:
        assert parameter.grad is not None
        found.append(parameter.grad)
        parameter.grad = None
    return found


@pytest.fixture
def backbone(base: Path, config: Config) -> Backbone:
    backbone = Backbone(preparation.adaptable(base, LORA, config.compute), loading.tokenizer(base), config.compute)
    randomize(backbone, POLICY, 1)
    for name in (REFERENCE, REWARD, VALUE):
        clone(backbone.model, POLICY, name)
    randomize(backbone, REWARD, 2)
    randomize(backbone, VALUE, 3)
    train_only(backbone.model, [POLICY, VALUE])
    return backbone


@pytest.fixture
def turns(backbone: Backbone) -> list[Turn]:
    """Six turns of different lengths; the last two did not end."""
    end = backbone.tok.eos_token_id
    lengths = [(9, 3), (4, 5), (6, 1), (12, 2), (5, 4), (7, 6)]
    ids: Callable[[int, int], list[int]] = lambda start, size: [3 + (start + 7 * step) % 500 for step in range(size)]  # noqa: E731
    drawn = [(ids(13 * row, p), ids(29 * row + 5, t)) for row, (p, t) in enumerate(lengths)]
    return [(prompt, [*answer[:-1], end] if row < 4 else answer) for row, (prompt, answer) in enumerate(drawn)]
