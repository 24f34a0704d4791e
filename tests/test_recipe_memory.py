"""The memory that a recipe states is the estimate for a model of that shape, and fits the stated device."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import PreTrainedConfig

from flows.commands.use import use
from pipelines.alignment.rl import memory as online
from pipelines.config import Config, load
from pipelines.llm.config import TeacherConfig
from pipelines.models.memory import GIB, estimate, trace
from pipelines.training.config import SFTConfig
from pipelines.training.examples import Example
from pipelines.training.preflight.memory import largest
from tests.conftest import ROOT
from tests.support.model_shapes import SHAPES

pytestmark = pytest.mark.slow

MODELS = [path for path in sorted((ROOT / "recipes").glob("*.yaml")) if "\nbase:" in path.read_text()]
STATED = re.compile(r"([\d.]+) GiB on a (GPU|CPU)")
ONLINE = re.compile(r"# Memory of ppo and grpo: ([\d.]+) and ([\d.]+) GiB on a GPU")
ALIGNED = [path for path in MODELS if re.search("GPUs? of", path.read_text())]
RESERVED = 0.1
"""Share of a device's memory that the driver, the CUDA context and a display use."""


def applied(recipe: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, PreTrainedConfig, str]:
    """Return the parameters with a recipe, the shape of its model, and the comment at its head."""
    shutil.copy(ROOT / "params.yaml", folder)
    monkeypatch.chdir(folder)
    use(Console(quiet=True), recipe)
    settings = load()
    shape = SHAPES[settings.base.model.removeprefix("hf:").partition("@")[0]]()
    return settings, shape, recipe.read_text().split("\n\n")[0]


def of_training(
    settings: Config, block: SFTConfig | TeacherConfig, longest: int, shape: PreTrainedConfig, device: str
) -> float:
    """Return the estimated GiB of a training whose batches are filled with rehearsed rows of the greatest length."""
    items = [(Example([0] * longest, [0] * longest, rehearsed=True),)] * (block.batch_tokens // longest)
    where, common = torch.device({"GPU": "cuda", "CPU": "cpu"}[device]), (settings.training, settings.base)
    precision = torch.float32 if device == "CPU" else torch.bfloat16  # the larger of those that `auto` may be
    training = largest(items, [list(range(len(items)))], block.tuning, *common, where, precision)
    traced = trace(shape, training)
    assert traced is not None
    return estimate(traced, training).total / GIB


@pytest.mark.parametrize("recipe", MODELS, ids=lambda path: path.stem)
def test_memory_is_as_stated_and_fits(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, shape, head = applied(recipe, tmp_path, monkeypatch)
    stated = {device: float(size) for size, device in STATED.findall(ONLINE.sub("", head))}
    assert stated
    for device, size in stated.items():
        longest = min(settings.sft.max_tokens, settings.sft.batch_tokens)
        needed = of_training(settings, settings.sft, longest, shape, device)
        assert size == pytest.approx(needed, rel=0.02, abs=0.06), f"{recipe.name} on a {device} needs {needed:.1f} GiB"
        if memory := re.search(r"GPUs? of (\d+) GB", head) if device == "GPU" else None:
            limit, longest = (1 - RESERVED) * float(memory[1]), settings.teacher.batch_tokens
            assert needed < limit
            if settings.teacher.finetunes:
                assert of_training(settings, settings.teacher, longest, shape, device) < limit


@pytest.mark.parametrize("recipe", ALIGNED, ids=lambda path: path.stem)
def test_memory_of_online_alignment_is_as_stated_and_fits(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, shape, head = applied(recipe, tmp_path, monkeypatch)
    stated, limit = ONLINE.search(head), re.search(r"GPUs? of (\d+) GB", head)
    assert stated and limit
    tuning = settings.align.tuning if settings.sft.tuning.selects else settings.sft.tuning
    common = tuning, settings.base.quantization, torch.bfloat16
    blocks = settings.rl.ppo, settings.rl.grpo
    ppo, grpo = (online.micro_batch(block, settings.pairs.max_tokens, *common, checkpointing=True) for block in blocks)
    assert ppo.length == grpo.length, "one trace is enough: activations are those of a row"
    traced = trace(shape, ppo)
    assert traced is not None
    for block, training, size in zip(blocks, (ppo, grpo), stated.groups(), strict=True):
        needed = online.estimate(shape, traced, training, block).total / GIB
        assert float(size) == pytest.approx(needed, rel=0.02), f"{recipe.name} needs {needed:.1f} GiB"
        assert needed < (1 - RESERVED) * float(limit[1])
