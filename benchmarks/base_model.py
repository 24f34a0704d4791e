"""The base model that the benchmarks train on."""

from pathlib import Path

import torch

from pipelines import artifacts
from pipelines.config import Config
from tasks.base import base


def base_model(folder: Path, settings: Config, tiny: bool) -> Path:
    """Return the directory of the base model: artifacts/base, or one made in `folder`."""
    if tiny:
        from tests.conftest import tiny_model, tiny_tokenizer  # sets OMP_NUM_THREADS

        tok = tiny_tokenizer()
        tiny_model(tok).to(torch.bfloat16).save_pretrained(folder)
        tok.save_pretrained(folder)
        return folder
    if (artifacts.ARTIFACTS / "base" / artifacts.RECORD).exists():
        return artifacts.read("base")
    base(folder, settings.base, settings.compute)
    return folder
