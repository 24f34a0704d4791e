"""Optimizers and schedules: their values, their states in checkpoints, and errors on machines without a GPU."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from pipelines.config import Config
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training import activations, optimizers, schedules
from pipelines.training.checkpoints import Checkpoints, pack, unpack
from pipelines.training.config import Optimizer
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.step import Job
from tests.support.recorder import Recorder
from tests.support.trainings import examples, training

pytestmark = pytest.mark.slow


def rates(kind: str, steps: int, warmup: float, decay: float) -> list[float]:
    """Return the learning rate of every step, as a share of its peak."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = schedules.create(kind, optimizer, steps, warmup, decay)  # type: ignore[arg-type]
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    return found


def test_linear_schedule_rises_and_falls() -> None:
    found = rates("linear", 20, 0.1, 0.0)
    assert found[:3] == [0.0, 0.5, 1.0] and found[-1] == pytest.approx(1 / 18)
    assert rates("linear", 60, 0.05, 0.0)[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert rates("linear", 3, 0.05, 0.0)[:2] == [0.0, 1.0]  # at least one step
    assert rates("linear", 4, 0.0, 0.0) == [1.0, 0.75, 0.5, 0.25]


def test_cosine_and_constant_schedules() -> None:
    cosine = rates("cosine", 11, 0.1, 0.0)
    assert cosine[1] == 1.0 and cosine[6] == pytest.approx(0.5) and cosine == [0.0, *sorted(cosine[1:], reverse=True)]
    assert rates("constant", 10, 0.2, 0.5) == [0.0, 0.5, *[1.0] * 8]


def test_wsd_schedule_is_stable_until_its_last_share() -> None:
    found = rates("wsd", 20, 0.1, 0.25)
    assert found[2:16] == [1.0] * 14
    assert found[16:] == pytest.approx([1 - (step / 5) ** 0.5 for step in range(1, 5)])


@pytest.mark.parametrize("kind", ["adamw_8bit", "paged_adamw_8bit"])
def test_8_bit_optimizers_need_a_gpu(kind: Optimizer) -> None:
    with pytest.raises(UserError, match=f"'{kind}', which needs a GPU"):
        optimizers.create(kind, [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 1e-3}], 0.0)


class Quantised(torch.optim.SGD):
    """An optimizer with states like those of bitsandbytes: numbers, and tensors in an inner mapping."""

    def state_dict(self) -> dict[str, object]:
        inner = {"state1": torch.tensor([1, 2], dtype=torch.uint8)}
        return {**super().state_dict(), "state": {0: {"step": 3, "quantised": inner}}}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self.loaded = state_dict["state"]


def test_checkpoints_keep_numbers_and_inner_states(tmp_path: Path) -> None:
    optimizer = Quantised([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    checkpoints = Checkpoints(tmp_path, seconds=0)
    checkpoints.step(1, lambda: (pack({}, optimizer), {}))
    saved = checkpoints.latest()
    assert saved is not None
    unpack(saved.tensors, {}, optimizer)
    (state,) = optimizer.loaded.values()  # type: ignore[attr-defined]
    assert type(state["step"]) is int and state["step"] == 3
    assert state["state1"].dtype == torch.uint8 and state["state1"].tolist() == [1, 2]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_entry_of_a_float32_adapter_moves_at_a_tiny_learning_rate(
    base: Path, config: Config, precision: str, quantization: str
) -> None:
    compute = config.compute.model_copy(update={"precision": precision})
    quantised = config.base.model_copy(update={"quantization": quantization})
    model = preparation.adaptable(
        base, TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8}), compute, quantised
    )
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for name, value in weights.items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    before = {name: value.detach().clone() for name, value in weights.items()}
    plan = [list(range(8))] * 3
    job = Job("sft", 2e-6, 1, training(schedule="constant"), compute, Recorder(), Checkpoints())
    fit(model, LanguageModel(model, examples(), 0), plan, job)
    assert len(weights) == 28 and {value.dtype for value in weights.values()} == {torch.float32}
    moved = [float((value != before[name]).float().mean()) for name, value in weights.items()]
    assert min(moved) > 0.98  # in bf16 at this rate, fewer than 15%
    assert sum(moved) / len(moved) > 0.999


def test_activations_are_recomputed_on_request_and_never_on_a_cpu_by_default(base: Path) -> None:
    config, cpu = LlamaForCausalLM.from_pretrained(base).config, torch.device("cpu")
    assert not activations.worthwhile("auto", config, 10**9, cpu) and activations.worthwhile("on", config, 1, cpu)
    assert activations.estimate(config, 1000) == 50 * 64 * 2 * 1000


def test_activations_are_not_recomputed_with_virtual_tokens(base: Path, config: Config) -> None:
    prefix = TuningConfig(method="prefix_tuning", options={"num_virtual_tokens": 2})
    lora = TuningConfig(method="lora", options={"r": 4})
    models = [preparation.adaptable(base, tuning, config.compute) for tuning in (prefix, lora)]
    assert [activations.wanted(model, "on", 10) for model in models] == [False, True]


def test_model_without_layers_to_recompute_raises() -> None:
    with (
        pytest.raises(UserError, match="no layers for activation checkpointing"),
        activations.recomputed(torch.nn.Linear(2, 2), True),
    ):
        pass
