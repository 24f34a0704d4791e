"""Training that cannot run on the device is refused before weights are loaded, with a change that lets it run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config import Config
from pipelines.models import memory
from pipelines.models.memory import GIB, estimate
from pipelines.runtime.errors import UserError
from pipelines.training import preflight
from pipelines.training.examples import IGNORED, Example
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROWS = [Example(list(range(40)), [IGNORED] * 30 + [1] * 10) for _ in range(64)] + [Example([1] * 8, [1] * 8)]
PLAN = [list(range(32)), list(range(32, 64)), [64]]


def check(base: Path, config: Config, **changes: Any) -> None:
    sft = config.sft.model_copy(update={"batch_tokens": 1280, **changes})
    preflight.check("sft", base, ROWS, PLAN, sft, config.compute, config.base, ROOT)


def test_training_that_fits_prints_its_memory(base: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    check(base, config)
    printed = capsys.readouterr().err
    assert "sft: estimated memory of 32 rows of 40 tokens" in printed and "activations" in printed


def test_largest_batch_counts(base: Path, config: Config) -> None:
    training = preflight.largest(ROWS, [[64], *PLAN[:2]], config.sft, config.compute, config.base)
    assert (training.rows, training.length, training.predicted, training.attention) == (32, 40, 320, "eager")


def test_too_large_a_batch_is_refused_with_one_that_fits(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = preflight.largest(ROWS, PLAN, config.sft, config.compute, config.base)
    shape = memory.trace(preflight.AutoConfig.from_pretrained(base), training)
    assert shape is not None
    whole, smaller = (
        estimate(shape, preflight.replace(training, rows=rows, predicted=10 * rows)).total for rows in (32, 8)
    )
    monkeypatch.setattr(memory, "available", lambda _: smaller)
    expected = (
        rf"^sft needs an estimated {whole / GIB:.1f} GiB of memory, and cpu has {smaller / GIB:.1f} GiB free; "
        rf"sft\.batch_tokens 320 instead of 1280 needs {smaller / GIB:.1f} GiB\.$"
    )
    with pytest.raises(UserError, match=expected):
        check(base, config)
    monkeypatch.setattr(memory, "available", lambda _: 1)
    with pytest.raises(UserError, match=r"lower sft\.lora\.rank or the length of rows, or set a smaller base\.model"):
        check(base, config)


def test_quantization_is_suggested_where_smaller_batches_do_not_fit(base: Path, config: Config) -> None:
    training = preflight.largest(ROWS, PLAN, config.sft, config.compute, config.base)
    names = [name for name, _ in preflight._smaller("sft", training, 160)]
    assert names == [
        "sft.batch_tokens 80 instead of 160",
        "sft.batch_tokens 40 instead of 160",
        "base.quantization nf4",
        "base.quantization nf4 with sft.batch_tokens 80 instead of 160",
        "base.quantization nf4 with sft.batch_tokens 40 instead of 160",
    ]


def test_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: type("Usage", (), {"free": GIB})())
    preflight.check_disk("sft", GIB, ROOT)
    with pytest.raises(UserError, match=r"sft writes up to 2\.0 GiB .* has 1\.0 GiB free; free space"):
        preflight.check_disk("sft", 2 * GIB, ROOT)


def test_quantization_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("none", "nf4", "int8"):
        preflight.check_quantization(kind, CPU, torch.bfloat16)
    preflight.check_quantization("none", CPU, torch.float32)
    with pytest.raises(UserError, match=r"resolves to fp32 here; set compute\.precision to bf16"):
        preflight.check_quantization("nf4", CPU, torch.float32)
    with pytest.raises(UserError, match="bitsandbytes does not support on meta"):
        preflight.check_quantization("nf4", torch.device("meta"), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    preflight.check_quantization("nf4", CUDA, torch.bfloat16)
    with pytest.raises(UserError, match="int8, which Tesla V100 lacks; set it to nf4"):
        preflight.check_quantization("int8", CUDA, torch.bfloat16)
