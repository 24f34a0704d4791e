"""Devices: one GPU per process, bf16 with native support, and a UserError for a missing GPU."""

import pytest
import torch

from pipelines.config import Config
from pipelines.models import devices
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def test_missing_gpu_raises_user_error(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU"):
        devices.device(config.compute.model_copy(update={"device": "cuda"}))


def test_a_process_uses_the_first_gpu_or_that_of_its_rank(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compute = config.compute.model_copy(update={"device": "auto"})
    assert devices.device(compute) == torch.device("cuda:0")
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "5", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert devices.device(compute) == torch.device("cuda:1")


@pytest.mark.parametrize("gpu", [True, False])
def test_algorithms_are_deterministic_on_a_cpu_alone(
    gpu: bool, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(liveness, "accelerator", lambda: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.append(mode))
    devices.prepare(config.compute.model_copy(update={"device": "auto"}))
    assert asked == [not gpu]


@pytest.mark.parametrize(
    ("found", "faster"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Neoverse V1", "bf16": True}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, False),
    ],
)
def test_auto_precision_is_bf16_where_it_is_faster(
    found: dict[str, object], faster: bool, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    resolved = devices.dtype(config.compute.model_copy(update={"precision": "auto"}))
    assert resolved == (torch.bfloat16 if faster else torch.float32)


def test_slow_bf16_is_reported(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    devices.prepare(config.compute.model_copy(update={"precision": "bf16"}))
    assert "auto would be fp32" in capsys.readouterr().err
    devices.prepare(config.compute.model_copy(update={"precision": "auto"}))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "warned"),
    [({"avx512_bf16": True}, False), ({"avx512_f": True}, False), ({"avx2": True}, True)],
)
def test_slow_training_is_announced(
    found: dict[str, object],
    warned: bool,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    devices.warn_of_slow_training(config.compute.model_copy(update={"precision": "auto"}))
    assert ("recipes/quick.yaml" in capsys.readouterr().err) == warned


def test_a_gpu_without_bf16_is_not_announced_as_a_slow_processor(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    compute = config.compute.model_copy(update={"precision": "auto", "device": "auto"})
    assert devices.dtype(compute) == torch.float32
    devices.warn_of_slow_training(compute)
    assert not capsys.readouterr().err
