"""The saved head of the reward model."""

from pathlib import Path

import pytest
import torch

from pipelines.alignment.backbone import scalar_head
from pipelines.alignment.reward_model import load_head, save_head
from pipelines.config import Config
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def test_saved_head_is_loaded_unchanged(base: Path, config: Config, tmp_path: Path) -> None:
    model = preparation.adaptable(base, TuningConfig(method="lora", options={"r": 2, "lora_alpha": 4}), config.compute)
    head = scalar_head(model)
    assert not head.weight.any()
    torch.nn.init.normal_(head.weight)
    save_head(head, tmp_path)
    loaded = load_head(model, tmp_path)
    assert torch.equal(loaded.weight, head.weight) and not loaded.weight.requires_grad
    save_head(torch.nn.Linear(3, 1), tmp_path)
    with pytest.raises(UserError, match="no reward head for this model"):
        load_head(model, tmp_path)
