"""Checkpoints are complete or ignored, limited in number, and restore the exact training state."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pipelines.training.checkpoints import Checkpoints, pack, restore_generators, unpack

pytestmark = pytest.mark.slow


def state(number: int) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    return {"weight/a": torch.full((3,), float(number))}, {"n": number}


def write(checkpoints: Checkpoints, *numbers: int) -> None:
    for number in numbers:
        checkpoints.step(number, partial(state, number))


def test_latest_returns_the_last_checkpoint_and_old_ones_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "key", seconds=0)
    assert checkpoints.latest() is None
    write(checkpoints, 9, 10, 11)
    saved = checkpoints.latest()
    assert saved is not None
    assert (saved.step, saved.facts) == (11, {"n": 11})
    assert torch.equal(saved.tensors["weight/a"], torch.full((3,), 11.0))
    assert {each.name for each in (tmp_path / "key").iterdir()} == {"10", "11"}


@pytest.mark.parametrize("damage", ["cut", "facts", "part"])
def test_damaged_checkpoint_is_ignored(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, seconds=0)
    write(checkpoints, 1, 2)
    if damage == "cut":
        content = (tmp_path / "2/tensors.safetensors").read_bytes()
        (tmp_path / "2/tensors.safetensors").write_bytes(content[:-1])
    elif damage == "facts":
        (tmp_path / "2/facts.json").write_text("{")
    else:
        (tmp_path / "2").rename(tmp_path / "3.part")
    saved = checkpoints.latest()
    assert saved is not None and saved.step == 1
    write(checkpoints, 2)
    saved = checkpoints.latest()
    assert saved is not None and saved.step == 2


def test_nothing_is_written_before_the_interval_or_without_a_folder(tmp_path: Path) -> None:
    write(Checkpoints(tmp_path, seconds=60), 1, 2)
    write(Checkpoints(None, seconds=0), 1, 2)
    assert list(tmp_path.iterdir()) == []


def test_interruption_saves_the_current_step_first(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), checkpoints.guarded():
        os.kill(os.getpid(), signal.SIGTERM)
        write(checkpoints, 7, 8)
    assert signal.getsignal(signal.SIGINT) is before
    saved = checkpoints.latest()
    assert saved is not None and saved.step == 7


def test_second_interruption_exits_immediately(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(KeyboardInterrupt), checkpoints.guarded():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert checkpoints.latest() is None


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    def start() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
        weights = {"a": torch.nn.Parameter(torch.ones(4)), "b": torch.nn.Parameter(torch.ones(2, 2))}
        return weights, torch.optim.AdamW(weights.values(), lr=0.1)

    def step(weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        loss = torch.stack([(weight * torch.rand(weight.shape)).square().sum() for weight in weights.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    torch.manual_seed(1)
    weights, optimizer = start()
    for _ in range(3):
        step(weights, optimizer)
    checkpoints = Checkpoints(tmp_path, seconds=0)
    checkpoints.step(3, lambda: (pack(weights, optimizer), {}))
    for _ in range(3):
        step(weights, optimizer)

    torch.manual_seed(2)
    again, other = start()
    saved = checkpoints.latest()
    assert saved is not None
    unpack(saved.tensors, again, other)
    restore_generators(saved.tensors)
    for _ in range(3):
        step(again, other)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_states_follow_their_weight_in_another_order_of_groups() -> None:
    weights = {name: torch.nn.Parameter(torch.full((2,), value)) for name, value in (("a", 1.0), ("b", 2.0))}
    a, b = ({"params": [weight]} for weight in weights.values())
    optimizer, other = torch.optim.AdamW([b, a]), torch.optim.AdamW([a, b])
    (weights["a"].square() + weights["b"].square()).sum().backward()
    optimizer.step()
    unpack(pack(weights, optimizer), weights, other)
    for weight in weights.values():
        assert torch.equal(other.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg"])


def test_one_of_several_processes_ignores_signals_after_it_stopped_with_the_others(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    checkpoints = Checkpoints(tmp_path / "key", seconds=3600)
    try:
        with pytest.raises(KeyboardInterrupt), checkpoints.guarded():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            write(checkpoints, 1, 2)
        os.kill(os.getpid(), signal.SIGINT)  # while the MLflow run is ended
    finally:
        dist.destroy_process_group()
        signal.signal(signal.SIGINT, before)
    saved = checkpoints.latest()
    assert saved is not None and saved.step == 1
