"""Optimizers and schedules: their values, their states in checkpoints, and errors on machines without a GPU."""

from pathlib import Path

import bitsandbytes
import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaForCausalLM

from pipelines.config import Config
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training import activations, optimizers, schedules
from pipelines.training.checkpoints import Checkpoints, pack, unpack
from pipelines.training.config import Optimizer, TrainingConfig
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


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "wsd"])
def test_a_training_of_one_step_has_the_peak_rate(kind: str) -> None:
    assert rates(kind, 1, 0.05, 0.2) == [1.0]


def test_warmup_and_decay_of_wsd_share_the_steps(config: Config) -> None:
    values = config.training.model_dump() | {"warmup": 0.6, "decay": 0.5}
    assert TrainingConfig.model_validate(values | {"schedule": "linear"}).warmup == 0.6
    with pytest.raises(ValidationError, match=r"warmup is 0\.6 and decay 0\.5; with schedule wsd"):
        TrainingConfig.model_validate(values | {"schedule": "wsd"})


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


@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_only_matrices_decay(kind: Optimizer) -> None:
    matrix, gain = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer = optimizers.create(kind, [{"params": [gain, matrix], "lr": 0.5}], 0.1)
    matrix.grad, gain.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert torch.allclose(matrix, torch.full((2, 2), 0.95)) and torch.equal(gain, torch.ones(2))
    (alone,) = optimizers.create(kind, [{"params": [gain, matrix], "lr": 0.5}], 0.0).param_groups
    assert alone["params"] == [gain, matrix]


@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_weights_that_begin_at_zero_move_by_the_learning_rate(kind: Optimizer) -> None:
    weight = torch.nn.Parameter(torch.zeros(4, 4))  # as LoRA's B
    optimizer = optimizers.create(kind, [{"params": [weight], "lr": 1e-2}], 0.0)
    weight.grad = torch.linspace(1, 2, 16).view(4, 4)
    optimizer.step()
    assert float(weight.abs().mean()) == pytest.approx(1e-2, rel=0.1)


@pytest.mark.parametrize("kind", [bitsandbytes.optim.AdamW8bit, bitsandbytes.optim.PagedAdamW8bit])
def test_8_bit_states_are_restored_exactly(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    def start() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
        generator = torch.Generator().manual_seed(0)
        weights = {name: torch.nn.Parameter(torch.randn(64, 128, generator=generator)) for name in "ab"}
        return weights, kind(weights.values(), lr=1e-3)  # type: ignore[call-arg]

    def step(weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (weights["a"].square().sum() + (weights["a"] * weights["b"]).sum()).backward()
        optimizer.step()

    weights, optimizer = start()
    step(weights, optimizer)
    checkpoints = Checkpoints(tmp_path, seconds=0)
    checkpoints.step(1, lambda: (pack(weights, optimizer), {}))
    saved = checkpoints.latest()
    assert saved is not None
    assert saved.tensors["optimizer0/a/state1"].dtype == torch.uint8
    again, other = start()
    unpack(saved.tensors, again, other)
    for each in ((weights, optimizer), (again, other)):
        step(*each)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


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
    assert not activations.worthwhile("auto", config, 10**9, cpu, 0) and activations.worthwhile("on", config, 1, cpu, 0)
    assert activations.estimate(config, 1000) == 50 * 64 * 2 * 1000


def test_memory_that_the_first_step_will_take_does_not_count_as_free(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, cuda = LlamaForCausalLM.from_pretrained(base).config, torch.device("cuda")
    monkeypatch.setattr(activations, "available", lambda _: 10_000_000)
    assert not activations.worthwhile("auto", config, 1000, cuda, 1_000_000)
    assert activations.worthwhile("auto", config, 1000, cuda, 3_000_000)


def test_gradients_and_states_are_unallocated_until_the_first_step() -> None:
    weights = [torch.nn.Parameter(torch.ones(10)), torch.nn.Parameter(torch.ones(5))]
    optimizer = torch.optim.AdamW(weights)
    assert optimizers.unallocated("adamw", optimizer) == 15 * 12
    weights[0].square().sum().backward()
    assert optimizers.unallocated("adamw", optimizer) == 15 * 12 - 10 * 4
    optimizer.step()
    assert optimizers.unallocated("adamw", optimizer) == 5 * 12


def test_activations_are_not_recomputed_with_virtual_tokens(base: Path, config: Config) -> None:
    prefix = TuningConfig(method="prefix_tuning", options={"num_virtual_tokens": 2})
    lora = TuningConfig(method="lora", options={"r": 4})
    models = [preparation.adaptable(base, tuning, config.compute) for tuning in (prefix, lora)]
    assert [activations.wanted(model, "on", 10, 0) for model in models] == [False, True]


def test_model_without_layers_to_recompute_raises() -> None:
    with (
        pytest.raises(UserError, match="no layers for activation checkpointing"),
        activations.recomputed(torch.nn.Linear(2, 2), True),
    ):
        pass
