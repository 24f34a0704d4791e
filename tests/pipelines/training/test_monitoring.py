"""MFU and sample answers: FLOPs as PyTorch counts them, and training that is not disturbed."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from pipelines.config import Config
from pipelines.evaluation.in_training.sample import LOSS
from pipelines.models import devices, loading
from pipelines.models.head import Model, base_of, hidden_states
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import tracking_store
from pipelines.runtime.tracking import Run, started
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.examples import encode_chat
from pipelines.training.loop import fit
from pipelines.training.monitoring.history import History
from pipelines.training.monitoring.samples import COLUMNS, TABLE, Samples
from pipelines.training.monitoring.utilization import Utilization, counted, peak_flops, utilization
from pipelines.training.objectives import LanguageModel, mean_loss
from pipelines.training.step import Job
from tests.conftest import tiny_model, tiny_tokenizer
from tests.support.interruptions import Impatient
from tests.support.recorder import Recorder
from tests.support.rows import training_row
from tests.support.trainings import COMPUTE, adapted, training, weights

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8, "lora_dropout": 0.2})
ROWS = [training_row(f"Who keeps light {number}?", f"Orla Finch {number}") for number in range(6)]


@pytest.mark.parametrize("make", [lambda: tiny_model(tiny_tokenizer()), adapted], ids=["all weights", "lora"])
def test_flops_are_those_that_pytorch_counts(make: type[PreTrainedModel]) -> None:
    model: Model = make()
    base_of(model).set_attn_implementation("eager")  # PyTorch does not count fused attention on a CPU
    model.enable_input_require_grads()  # below a frozen embedding, the first layer needs no gradient of its input
    ids = torch.arange(3 * 16).reshape(3, 16)
    with FlopCounterMode(display=False) as counter:
        hidden_states(model, ids).sum().backward()
    assert counter.get_total_flops() == counted(model, 1.0).flops([16] * 3)


@pytest.mark.parametrize(
    ("device", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA L40", None),
        ("Tesla T4", None),
    ],
)
def test_peak_of_a_gpu_is_found_by_its_name(device: str, teraflops: int | None) -> None:
    assert peak_flops(device) == (None if teraflops is None else teraflops * 1e12)


def test_mfu_is_a_curve_where_the_peak_is_known() -> None:
    run = Recorder()
    job = Job("sft", 1e-2, 1, training(), COMPUTE, run, Checkpoints())
    history = History(job, 2, None, [], [], Utilization(per_token=10, per_token_pair=1, peak=1e3))
    history.add({"loss": 1.0}, [2, 3])
    (point,) = run.steps
    assert point["mfu"] == pytest.approx(point["tokens_per_second"] / 5 * (10 * 5 + 2**2 + 3**2) / 1e3)
    assert utilization(adapted(), COMPUTE) is None  # on a CPU


def learn(base: Path, config: Config, run: Run, sampled: bool, checkpoints: Checkpoints) -> dict[str, torch.Tensor]:
    devices.prepare(config.compute)
    tok, model = loading.tokenizer(base), preparation.adaptable(base, LORA, config.compute).train()
    encoded = [encode_chat(tok, row.messages) for row in ROWS]
    objective, samples = LanguageModel(model, encoded, 0), Samples(model, tok, ROWS, config.compute, run)

    def validate(step: int) -> dict[str, float]:
        if sampled:
            samples.log(step)
            assert all(module.training for module in model.modules())
        return {LOSS: mean_loss(model, objective, config.compute)}

    job = Job("sft", 1e-2, 1, config.training, config.compute, run, checkpoints)
    fit(model, objective, [[number % 6, (number + 1) % 6] for number in range(20)], job, validate=validate)
    return weights(model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sample_answers_are_logged_and_change_no_weight(
    base: Path, config: Config, tmp_path: Path, precision: str
) -> None:
    compute = config.compute.model_copy(update={"precision": precision})
    settings = config.model_copy(update={"compute": compute})
    with started("sft", {}) as run:
        expected = learn(base, settings, run, False, Checkpoints())
    with pytest.raises(KeyboardInterrupt), started("sft", {}) as run:
        learn(base, settings, run, True, Impatient(tmp_path, patience=9))
    with started("sft", {}, run.id) as run:
        found = learn(base, settings, run, True, Checkpoints(tmp_path))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    file = tracking_store.artifact(run.id, TABLE, tmp_path)
    assert file is not None
    table = json.loads(file.read_text())
    assert tuple(table["columns"]) == COLUMNS and [row[0] for row in table["data"]] == sorted([*range(2, 21, 2)] * 4)
    assert {row[1] for row in table["data"]} == {row.messages[0]["content"] for row in ROWS[:4]}
    assert all(isinstance(row[3], str) for row in table["data"])
