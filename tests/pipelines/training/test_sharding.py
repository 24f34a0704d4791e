"""All weights trained by two processes with sharded layers: equal to one process, and resumed when killed."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import ProcessExitedException, start_processes
from transformers import PreTrainedModel

from pipelines.config import Config
from pipelines.evaluation.in_training.sample import LOSS
from pipelines.models.config import BaseModelConfig
from pipelines.models.loading import whole
from pipelines.models.parallel import sharding
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.training import step
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import fit
from pipelines.training.monitoring.history import History
from pipelines.training.objectives import LanguageModel, Preserved, mean_loss
from pipelines.training.packing import check_document_masking
from pipelines.training.step import Job
from tests.conftest import tiny_model, tiny_tokenizer
from tests.support.interruptions import Fatal
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, examples, training

pytestmark = pytest.mark.slow

PLAN = [[0, 1, 2, 3, 4], [5], [6, 7], [1, 5, 3], [0, 2, 4, 6, 7], [3]]
"""A step of one row leaves one of two processes without a share."""
BUDGET = 40
"""Tokens of a micro-batch; the shares of a step have different numbers of them."""
FULL = TuningConfig(method="full", options={})


def learn(
    shard: bool, checkpoints: Checkpoints, patience: int | None = None, precision: str = "fp32"
) -> tuple[PreTrainedModel, History]:
    """Train all weights of the tiny model by answers and by rehearsal, validating twice."""
    compute = COMPUTE.model_copy(update={"precision": precision})
    model = tiny_model(tiny_tokenizer())
    before = Preserved.of(tiny_model(tiny_tokenizer()), examples(), 0, compute)
    if shard:
        sharding.shard(model, compute, sharding.mesh(compute))
        check_document_masking(model, "pretrain")
        layers = [value for name, value in model.named_parameters() if "layers" in name]
        assert layers and all(isinstance(value, DTensor) for value in layers)
    settings = training(micro_batch_tokens=BUDGET, patience=patience)
    objective = LanguageModel(model, examples(), 0, rehearsal_weight=3.0, before=before)
    held_back = LanguageModel(model, examples(2), 0)
    job = Job("sft", 1e-3, 1, settings, compute, Recorder(), checkpoints)
    history = fit(model, objective, PLAN, job, None, lambda _: {LOSS: mean_loss(model, held_back, compute)})
    return model, history


def process(
    rank: int, folder: Path, checkpoints: Callable[[], Checkpoints], patience: int | None, precision: str
) -> None:
    """Train as one of two processes; rank 0 saves the whole model and its losses."""
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        model, history = learn(True, checkpoints(), patience, precision)
        model.save_pretrained(folder / "model")
        ids = torch.arange(9)[None]
        found = {"losses": history.rows, "validations": history.validations, "logits": model(ids).logits.detach()}
        torch.save(found, folder / "found.pt")
    finally:
        os._exit(0)  # without the exit handlers of the parent's libraries, which fail in a fork


def in_two_processes(
    folder: Path, checkpoints: Callable[[], Checkpoints], patience: int | None = None, precision: str = "fp32"
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    (folder / "store").unlink(missing_ok=True)
    start_processes(process, (folder, checkpoints, patience, precision), nprocs=2, start_method="fork")


@pytest.mark.parametrize("patience", [None, 1], ids=["last", "best"])
def test_a_sharded_training_has_the_result_of_one_process(tmp_path: Path, patience: int | None) -> None:
    in_two_processes(tmp_path, lambda: Checkpoints(tmp_path / "kept"), patience)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    model, history = learn(False, Checkpoints(), patience)
    assert len(found["losses"]) == len(history.rows)
    for one, two in zip(found["losses"], history.rows, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-4)
    assert found["validations"][-1][1][LOSS] == pytest.approx(history.validations[-1][1][LOSS], abs=1e-5)
    stored = type(model).from_pretrained(tmp_path / "model")
    for name, value in model.named_parameters():
        torch.testing.assert_close(stored.get_parameter(name), value, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["logits"], model(torch.arange(9)[None]).logits, atol=1e-4, rtol=1e-4)


def test_a_sharded_training_in_bf16_has_the_losses_of_one_process(tmp_path: Path) -> None:
    in_two_processes(tmp_path, Checkpoints, precision="bf16")
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    _, history = learn(False, Checkpoints(), precision="bf16")
    losses, expected = ([row["loss"] for row in rows] for rows in (found["losses"], history.rows))
    assert losses == pytest.approx(expected, rel=5e-3)


def loading(rank: int, folder: Path, base: BaseModelConfig) -> None:
    """Load and shard a model as one of three processes, and note when loading starts and ends."""

    def noted(*arguments: Any, **options: Any) -> PreTrainedModel:
        note("starts")
        time.sleep(0.1)  # so that loading at the same time would mix
        model = whole(*arguments, **options)
        note("ends")
        return model

    def note(event: str) -> None:
        with (folder / "turns").open("a") as file:
            print(rank, event, file=file)

    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    try:
        vars(preparation)["whole"] = noted
        preparation.trainable(folder / "base", FULL, COMPUTE, base, sharded=True)
        note("is sharded")
    finally:
        os._exit(0)


def test_processes_load_the_model_one_after_the_other(tmp_path: Path, config: Config) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    tiny_model(tiny_tokenizer()).save_pretrained(tmp_path / "base")
    start_processes(loading, (tmp_path, config.base), nprocs=3, start_method="fork")
    events = (tmp_path / "turns").read_text().splitlines()
    assert events[:6] == [f"{rank} {event}" for rank in range(3) for event in ("starts", "ends")]
    assert sorted(events[6:]) == [f"{rank} is sharded" for rank in range(3)]


def test_frozen_weights_get_no_gradient_from_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero gradient would let the optimizer's momentum and weight decay change them."""
    monkeypatch.setattr(step, "BUCKET", 5)
    trained = [torch.nn.Parameter(torch.ones(size)) for size in (3, 4, 9)]
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    for weight in trained[1:]:
        weight.grad = torch.full_like(weight, 2.0)
    job = Job("sft", 1e-3, 1, training(), COMPUTE, Recorder(), Checkpoints())
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        step.averaged([*trained, frozen], {"weight": 2.0, "loss": 1.0}, 100.0, job, 1)
    finally:
        dist.destroy_process_group()
    assert frozen.grad is None
    assert [weight.grad.tolist() for weight in trained if weight.grad is not None] == [[0.0] * 3, [1.0] * 4, [1.0] * 9]


def test_a_gathered_model_stays_in_main_memory_if_the_device_is_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    for free, place in ((159, "cpu"), (161, "cuda")):
        monkeypatch.setattr(sharding, "available", lambda _, free=free: free)
        assert sharding._roomy(cuda, 100).type == place


def test_a_killed_training_resumes_from_the_gathered_checkpoint(tmp_path: Path) -> None:
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
    in_two_processes(tmp_path / "whole", Checkpoints)
    place = tmp_path / "key"
    with pytest.raises(ProcessExitedException) as ended:
        in_two_processes(tmp_path / "killed", lambda: Fatal(place, patience=3))
    assert ended.value.exit_code == -signal.SIGKILL
    in_two_processes(tmp_path / "killed", lambda: Checkpoints(place))
    whole, resumed = (torch.load(tmp_path / name / "found.pt", weights_only=True) for name in ("whole", "killed"))
    assert [row["loss"] for row in resumed["losses"]] == [row["loss"] for row in whole["losses"]]
    assert torch.equal(resumed["logits"], whole["logits"])
