"""Training that cannot run on the device is refused before weights are loaded, with a change that lets it run."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
import yaml
from transformers import AutoConfig, Lfm2Config, Qwen3MoeConfig, Qwen3MoeForCausalLM

from pipelines.alignment.sequences import as_rows
from pipelines.config import Config
from pipelines.models import devices, memory, quantization
from pipelines.models.config import Quantization
from pipelines.models.memory import GIB, Training, estimate
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.training.config import TrainingConfig
from pipelines.training.examples import IGNORED, Example
from pipelines.training.preflight import memory as memory_check
from pipelines.training.preflight.machine import check_training
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROWS = [Example(list(range(40)), [IGNORED] * 30 + [1] * 10, rehearsed=row < 8) for row in range(64)]
ROWS += [Example([1] * 8, [1] * 8)]
ITEMS = [(row,) for row in ROWS]
PLAN = [list(range(32)), list(range(32, 64)), [64]]


def check(base: Path, config: Config, **changes: Any) -> TrainingConfig:
    training = config.training.model_copy(update=changes)
    return check_training("sft", base, ROWS, PLAN, config.sft, training, config.compute, config.base, ROOT)


def check_tuning(start: Path, config: Config, tuning: TuningConfig, adapter_scale: float) -> None:
    sft = config.sft.model_copy(update={"tuning": tuning, "adapter_scale": adapter_scale})
    check(start, config.model_copy(update={"sft": sft}))


def largest(config: Config, where: torch.device = CPU, plan: list[list[int]] = PLAN, **changes: Any) -> Training:
    training = config.training.model_copy(update=changes)
    return memory_check.largest(ITEMS, plan, config.sft.tuning, training, config.base, where, torch.float32)


def test_training_that_fits_prints_its_memory(base: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    check(base, config)
    printed = capsys.readouterr().err
    assert "sft: estimated memory of 32 rows of 40 tokens\n" in printed and "activations" in printed


def test_largest_micro_batch_counts(config: Config) -> None:
    found = largest(config, plan=[[64], *PLAN[:2]])
    assert (found.rows, found.length, found.predicted, found.rehearsed) == (32, 40, 320, 80)
    assert (found.attention, found.optimizer, found.checkpointing) == ("eager", "adamw", False)
    found = largest(config, CUDA, micro_batch_tokens=330, checkpointing="on", optimizer="paged_adamw_8bit")
    assert (found.rows, found.length, found.predicted, found.rehearsed) == (8, 40, 80, 80)
    assert (found.attention, found.optimizer, found.checkpointing) == ("sdpa", "paged_adamw_8bit", True)


def test_the_rows_of_a_pair_share_a_micro_batch(config: Config) -> None:
    pair = (([1] * 30, [1] * 10), ([1] * 30, [1] * 6))
    training = config.training.model_copy(update={"micro_batch_tokens": 330})
    for predicted, tokens in ((True, 64), (False, 0)):
        items = [as_rows(pair, predicted=predicted)] * 16
        found = memory_check.largest(
            items, [list(range(16))], config.sft.tuning, training, config.base, CPU, torch.float32
        )
        assert (found.rows, found.length, found.predicted) == (8, 40, tokens)
        smaller = [(limit, each.rows) for limit, each in memory_check._micro_batches(found, together=2)]
        assert smaller == [(320, 8), (160, 4), (80, 2)]


def test_an_automatic_micro_batch_is_a_step_and_on_a_cpu_at_most_4096_tokens(config: Config) -> None:
    plan = [[*range(64), *range(64)]]
    assert (largest(config, CPU, plan).rows, largest(config, CUDA, plan).rows) == (102, 128)


def test_too_large_a_micro_batch_is_refused_with_one_that_fits(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = largest(config)
    shape = memory.trace(AutoConfig.from_pretrained(base), training)
    assert shape is not None
    quarter = replace(training, rows=8, predicted=80, rehearsed=20)
    whole, smaller = (estimate(shape, each).total for each in (training, quarter))
    monkeypatch.setattr(devices, "available", lambda _: smaller)
    expected = (
        rf"^sft needs an estimated {whole / GIB:.1f} GiB of memory, and cpu has {smaller / GIB:.1f} GiB free; "
        rf"training\.micro_batch_tokens 320 needs {smaller / GIB:.1f} GiB\.$"
    )
    with pytest.raises(UserError, match=expected):
        check(base, config)
    monkeypatch.setattr(devices, "available", lambda _: 1)
    with pytest.raises(
        UserError, match=r"lower sft\.max_tokens and sft\.lm_tokens, lower the rank of the adapter, or set"
    ):
        check(base, config)


def test_automatic_checkpointing_is_counted_where_memory_is_too_small_without(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = largest(config, CUDA)
    shape = memory.trace(AutoConfig.from_pretrained(base), training)
    assert shape is not None
    recomputed = estimate(shape, replace(training, checkpointing=True)).total
    assert recomputed < estimate(shape, training).total
    monkeypatch.setattr(devices, "available", lambda _: recomputed)
    assert memory_check.check_memory("sft", shape, training, CUDA, may_recompute=True)
    assert "32 rows of 40 tokens, with activation checkpointing" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"training\.micro_batch_tokens \d+ needs|training\.checkpointing on needs"):
        memory_check.check_memory("sft", shape, training, CUDA, may_recompute=False)


def test_the_loop_recomputes_if_the_estimate_counted_on_it(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device", lambda _: CUDA)
    assert config.training.checkpointing == "auto"
    monkeypatch.setattr(devices, "available", lambda _: GIB)
    assert check(base, config).checkpointing == "auto"
    training = largest(config, CUDA)
    shape = memory.trace(AutoConfig.from_pretrained(base), training)
    assert shape is not None
    recomputed = estimate(shape, replace(training, checkpointing=True)).total
    monkeypatch.setattr(devices, "available", lambda _: recomputed)
    assert check(base, config).checkpointing == "on"


def test_rows_longer_than_the_positions_of_the_model_are_refused(base: Path, config: Config) -> None:
    rows = [Example([1] * 513, [1] * 513)]
    with pytest.raises(UserError, match=r"a row of 513 tokens, and the model has 512 positions; lower sft\.max_tokens"):
        check_training("sft", base, rows, [[0]], config.sft, config.training, config.compute, config.base, ROOT)


def test_virtual_tokens_have_positions(base: Path, config: Config) -> None:
    rows = [Example([1] * 500, [1] * 500)]
    for virtual, refused in ((12, False), (13, True)):
        tuning = TuningConfig(method="prompt_tuning", options={"num_virtual_tokens": virtual})
        sft = config.sft.model_copy(update={"tuning": tuning, "adapter_scale": 1.0})
        message = r"a row of 500 tokens after 13 virtual tokens, .* 512 positions; .* to at most 499"
        with pytest.raises(UserError, match=message) if refused else nullcontext():
            check_training("sft", base, rows, [[0]], sft, config.training, config.compute, config.base, ROOT)


def test_prefix_needs_keys_and_values_in_every_layer(config: Config, tmp_path: Path) -> None:
    Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]).save_pretrained(tmp_path)
    tuning = TuningConfig(method="prefix_tuning", options={})
    with pytest.raises(UserError, match="prefix_tuning, and lfm2 has layers without keys and values; set its"):
        check_tuning(tmp_path, config, tuning, 1.0)


def test_packed_texts_have_positions_of_their_own(base: Path, config: Config) -> None:
    for longest, refused in ((512, False), (513, True)):
        rows = [Example([1] * 1024, [1] * 1024, positions=[*range(longest), *range(1024 - longest)])]
        with pytest.raises(UserError, match="a row of 513 tokens") if refused else nullcontext():
            check_training("sft", base, rows, [[0]], config.sft, config.training, config.compute, config.base, ROOT)


def test_weights_stored_under_other_names_are_refused_before_training(config: Config, tmp_path: Path) -> None:
    experts = Qwen3MoeConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
    )
    Qwen3MoeForCausalLM(experts).save_pretrained(tmp_path)
    full, layers = TuningConfig(method="full", options={}), TuningConfig(method="layers", options={"last": 1})
    for tuning, scale in ((full, 0.8), (layers, 1.0)):
        with pytest.raises(UserError, match=r"trains model\.layers\.\d\.mlp\.experts.*another name; use full with"):
            check_tuning(tmp_path, config, tuning, scale)
    check_tuning(tmp_path, config, full, 1.0)
    check_tuning(tmp_path, config, TuningConfig(method="norms", options={}), 0.8)


@pytest.mark.parametrize(("written", "read"), [("on", "on"), ("off", "off"), ("auto", "auto"), ('"on"', "on")])
def test_checkpointing_need_not_be_quoted_in_yaml(written: str, read: str, config: Config) -> None:
    values = config.training.model_dump() | yaml.safe_load(f"checkpointing: {written}")
    assert TrainingConfig.model_validate(values).checkpointing == read


def test_changes_with_equal_results_are_suggested_first(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suggestion(training: Training, where: torch.device, free: int) -> str:
        monkeypatch.setattr(devices, "available", lambda _: free)
        with pytest.raises(UserError) as refused:
            memory_check.check_memory("sft", traced(training), training, where, may_recompute=False)
        return str(refused.value).split("; ")[1]

    def traced(training: Training) -> memory.Traced:
        shape = memory.trace(AutoConfig.from_pretrained(base), training)
        assert shape is not None
        return shape

    def needed(training: Training) -> int:
        return estimate(traced(training), training).total

    training = replace(largest(config, CUDA), rows=4, predicted=40, rehearsed=20)
    half = replace(training, rows=2, predicted=20, rehearsed=10)
    least = replace(training, rows=1, predicted=10, rehearsed=5, checkpointing=True)
    eight_bit = replace(least, optimizer="paged_adamw_8bit")
    assert suggestion(training, CUDA, needed(half)).startswith("training.micro_batch_tokens 80 needs")
    last = "training.checkpointing on with training.micro_batch_tokens 40 needs"
    assert suggestion(training, CUDA, needed(least)).startswith(last)
    assert suggestion(training, CUDA, needed(eight_bit)).startswith("training.optimizer paged_adamw_8bit")
    assert "base.quantization nf4" in suggestion(training, CUDA, needed(replace(eight_bit, quantization="nf4")))
    # Weights that are trained cannot be quantised, and a CPU has no 8-bit optimizer.
    training, least = (replace(each, tuning=TuningConfig(method="full", options={})) for each in (training, least))
    assert suggestion(training, CPU, needed(least) - 1) == (
        "lower sft.max_tokens and sft.lm_tokens, train an adapter (tuning.method lora), or set a smaller base.model."
    )


def test_full_disk_is_refused(base: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for free in (GIB, 1000):
        monkeypatch.setattr("pipelines.models.weights.shutil.disk_usage", lambda _, f=free: SimpleNamespace(free=f))
        with nullcontext() if free == GIB else pytest.raises(UserError, match=r"Saving to .* GB are free; `gradus gc`"):
            check(base, config)


def test_only_the_process_that_saves_needs_the_disk(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.models.weights.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(environment, "rank", lambda: 1)
    check(base, config)


def test_quantization_or_optimizer_that_the_device_lacks_is_refused(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in get_args(Quantization):
        quantization.check(kind, CPU)
    with pytest.raises(UserError, match="bitsandbytes does not support on meta"):
        quantization.check("nf4", torch.device("meta"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    quantization.check("nf4", CUDA)
    with pytest.raises(UserError, match="int8, which Tesla V100 lacks; set it to nf4"):
        quantization.check("int8", CUDA)
    with pytest.raises(UserError, match="'adamw_8bit', which needs a GPU"):
        check(base, config, optimizer="adamw_8bit")
