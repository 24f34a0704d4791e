"""Merging adapters into whole models: what is exported computes what was trained, for 16-bit, NF4 and INT8 weights."""

import importlib.util
import shutil
from pathlib import Path

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models import adapters, loading, quantization, saving, weights
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.release import merging
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
IDS = torch.tensor([[3, 50, 70, 90, 110, 7, 44]])
PROMPTS = [[3, 50, 70], [5, 9]]


def quantised(kind: str) -> BaseModelConfig:
    return BaseModelConfig.model_validate(
        {"model": "unused", "chat_template": None, "thinking": False, "quantization": kind, "trust_remote_code": False}
    )


def adapt(
    base: Path,
    out: Path,
    compute: ComputeConfig,
    kind: str = "none",
    std: float = 0.05,
    seed: int = 1,
    tuning: TuningConfig = LORA,
) -> Path:
    """Save an adapter whose B has random entries with this standard deviation."""
    model = preparation.adaptable(base, tuning, compute, quantised(kind))
    torch.manual_seed(seed)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=std) if std else torch.nn.init.zeros_(value)
    saving.save_adapter(model, loading.tokenizer(base), out)
    return out


def on_adapter(base: Path, below: Path, out: Path, compute: ComputeConfig, kind: str = "none") -> Path:
    """Save an adapter on the adapter `below`."""
    adapt(base, out, compute, kind, seed=2)
    facts = artifacts.read_json(out / adapters.CONFIG)
    artifacts.write_json(out / adapters.CONFIG, facts | {"base_model_name_or_path": str(below)})
    adapters.record_base(out, adapters.quantization([below]))
    return out


@torch.no_grad()
def logits(directory: Path, compute: ComputeConfig) -> torch.Tensor:
    values: torch.Tensor = loading.load(directory, compute)(IDS).logits
    return values.float()


@pytest.fixture
def bf16(config: Config) -> ComputeConfig:
    return config.compute.model_copy(update={"precision": "bf16"})


def test_merge_without_an_update_stores_the_base_weights(base: Path, config: Config, tmp_path: Path) -> None:
    merging.merge(adapt(base, tmp_path / "sft", config.compute, std=0.0), tmp_path / "whole", config.compute)
    before, after = (load_file(each / "model.safetensors") for each in (base, tmp_path / "whole"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_exported_weights_are_those_that_load_merges(base: Path, bf16: ComputeConfig, tmp_path: Path) -> None:
    adapter = adapt(base, tmp_path / "sft", bf16)
    merging.merge(adapter, tmp_path / "whole", bf16)
    assert {each.dtype for each in load_file(tmp_path / "whole/model.safetensors").values()} == {torch.bfloat16}
    assert torch.equal(logits(tmp_path / "whole", bf16), logits(adapter, bf16))
    with torch.no_grad():
        trained = preparation.adaptable(adapter, None, bf16).eval()(IDS).logits.float()
    assert torch.allclose(logits(tmp_path / "whole", bf16), trained, atol=0.05)
    assert not torch.allclose(logits(base, bf16), trained, atol=0.05)


def test_merged_weights_equal_pefts(base: Path, config: Config, tmp_path: Path) -> None:
    adapter = adapt(base, tmp_path / "sft", config.compute)
    expected = preparation.adaptable(adapter, None, config.compute).merge_and_unload().state_dict()
    found = loading.load(adapter, config.compute).state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in found)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 32, "down_proj": 1}},
    ],
)
def test_scaling_of_peft_is_respected(
    base: Path, config: Config, tmp_path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning = TuningConfig(method="lora", options={**LORA.options, **options})
    adapter = adapt(base, tmp_path / "sft", config.compute, tuning=tuning)
    with torch.no_grad():
        expected = preparation.adaptable(adapter, None, config.compute).eval()(IDS).logits
    assert torch.allclose(logits(adapter, config.compute), expected, atol=1e-5)


def test_chain_of_adapters_is_the_sum_of_both(base: Path, config: Config, tmp_path: Path) -> None:
    lower = adapt(base, tmp_path / "lower", config.compute)
    upper = on_adapter(base, lower, tmp_path / "upper", config.compute)
    merging.merge(upper, tmp_path / "whole", config.compute)
    merging.merge(lower, tmp_path / "half", config.compute)
    alone = adapt(tmp_path / "half", tmp_path / "alone", config.compute, seed=2)
    assert torch.equal(logits(upper, config.compute), logits(tmp_path / "whole", config.compute))
    assert torch.allclose(logits(upper, config.compute), logits(alone, config.compute), atol=1e-5)
    with pytest.raises(UserError, match="only one on a whole model can be trained on"):
        preparation.adaptable(upper, None, config.compute)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_adapter_on_quantised_weights_is_loaded_as_it_was_trained(
    base: Path, config: Config, tmp_path: Path, kind: str
) -> None:
    adapter = adapt(base, tmp_path / "sft", config.compute, kind)
    with torch.no_grad():
        trained = preparation.adaptable(adapter, None, config.compute).eval()(IDS).logits
    assert torch.allclose(logits(adapter, config.compute), trained, atol=5e-3)  # CPUs multiply NF4 in bf16
    assert quantization.kind_of(loading.load(adapter, config.compute)) == kind
    upper = on_adapter(base, adapter, tmp_path / "upper", config.compute, kind)
    assert not torch.allclose(logits(upper, config.compute), trained, atol=1e-2)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_merge_into_the_quantised_weights_is_closer_to_the_trained_model(
    base: Path, config: Config, tmp_path: Path, kind: str
) -> None:
    adapter = adapt(base, tmp_path / "sft", config.compute, kind)
    found = {}
    for aware in (True, False):
        merging.merge(adapter, tmp_path / str(aware), config.compute, aware)
        found[aware] = merging.parity(adapter, tmp_path / str(aware), PROMPTS, config.compute, new_tokens=8)
    share = 0.2 if kind == "nf4" else 0.8  # INT8 also rounds its inputs, which no merged weights can repeat
    assert found[True].mean_logit_difference < share * found[False].mean_logit_difference
    assert found[True].max_logit_difference < found[False].max_logit_difference
    assert found[True].metrics()["parity.equal_tokens"] >= found[False].equal_tokens


def test_merge_reads_one_file_of_several_at_a_time(
    base: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD", "100KB")
    saving.save_whole(loading.load(base, config.compute), loading.tokenizer(base), tmp_path / "split")
    assert len(weights.files(tmp_path / "split")) > 2
    adapter = adapt(tmp_path / "split", tmp_path / "sft", config.compute)
    merging.merge(adapter, tmp_path / "whole", config.compute)
    assert len(weights.files(tmp_path / "whole")) == len(weights.files(tmp_path / "split"))
    assert torch.equal(logits(adapter, config.compute), logits(tmp_path / "whole", config.compute))


def test_tied_embeddings_stay_tied_and_refuse_an_adapted_output_layer(
    base: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging.merge(adapt(base, tmp_path / "sft", config.compute), tmp_path / "whole", config.compute)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert isinstance(whole, LlamaForCausalLM)
    assert whole.get_output_embeddings().weight is whole.get_input_embeddings().weight
    tuning = TuningConfig(method="lora", options={**LORA.options, "target_modules": ["lm_head", "q_proj"]})
    adapter = adapt(base, tmp_path / "tied", config.compute, tuning=tuning)
    for convert in (
        lambda: loading.load(adapter, config.compute),
        lambda: merging.merge(adapter, tmp_path / "out", config.compute),
    ):
        with pytest.raises(UserError, match=r"changes base_model\.model\.lm_head.*only as its embeddings"):
            convert()
    assert not (tmp_path / "out").exists()


def test_adapter_for_which_peft_changed_the_weights_below_is_refused(
    base: Path, config: Config, tmp_path: Path
) -> None:
    adapter = adapt(base, tmp_path / "sft", config.compute)
    facts = artifacts.read_json(adapter / adapters.CONFIG)
    artifacts.write_json(adapter / adapters.CONFIG, facts | {"init_lora_weights": "pissa"})
    with pytest.raises(UserError, match="init_lora_weights 'pissa', for which PEFT changed the weights below"):
        loading.load(adapter, config.compute)


def test_adapter_of_other_base_weights_is_refused(base: Path, config: Config, tmp_path: Path) -> None:
    adapter = adapt(base, tmp_path / "sft", config.compute)
    model = loading.load(base, config.compute)
    model.get_input_embeddings().weight.data *= 2
    saving.save_whole(model, loading.tokenizer(base), base)
    for convert in (
        lambda: loading.load(adapter, config.compute),
        lambda: preparation.adaptable(adapter, None, config.compute),
        lambda: merging.merge(adapter, tmp_path / "out", config.compute),
    ):
        with pytest.raises(UserError, match=r"was trained on other weights than .*base has now"):
            convert()


def test_too_small_disk_is_found_before_writing(
    base: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, tok = adapt(base, tmp_path / "sft", config.compute), loading.tokenizer(base)
    full = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    for write in (
        lambda out: saving.save_adapter(preparation.adaptable(adapter, None, config.compute), tok, out),
        lambda out: saving.save_whole(loading.load(base, config.compute), tok, out),
        lambda out: merging.merge(adapter, out, config.compute),
    ):
        with pytest.raises(UserError, match="GB are free"):
            write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merge_needs_the_space_of_what_it_writes_not_of_the_base_model(
    base: Path, bf16: ComputeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precise, asked = bf16.model_copy(update={"precision": "fp32"}), []
    saving.save_whole(loading.load(base, bf16), loading.tokenizer(base), tmp_path / "half")
    adapter = adapt(tmp_path / "half", tmp_path / "sft", precise)
    monkeypatch.setattr(weights, "require_space", lambda _, needed: asked.append(needed))
    merging.merge(adapter, tmp_path / "whole", precise)
    (stored,) = weights.files(tmp_path / "half")
    written = load_file(tmp_path / "whole/model.safetensors").values()
    assert {each.dtype for each in written} == {torch.float32}
    assert asked == [sum(each.nbytes for each in written)] and asked[0] > 1.9 * stored.stat().st_size


def test_adapter_of_a_model_with_more_layers_is_refused(base: Path, config: Config, tmp_path: Path) -> None:
    model = loading.load(base, config.compute)
    adapter = adapt(base, tmp_path / "sft", config.compute)
    (adapter / adapters.BASE).unlink()
    del model.model.layers[1]
    model.config.num_hidden_layers = 1
    saving.save_whole(model, loading.tokenizer(base), base)
    with pytest.raises(UserError, match=r"changes model\.layers\.1\.mlp\.down_proj\.weight, which its base model"):
        loading.load(adapter, config.compute)


def test_evaluation_during_nf4_training_changes_no_gradient(base: Path, bf16: ComputeConfig, tmp_path: Path) -> None:
    adapter, gradients = adapt(base, tmp_path / "sft", bf16, "nf4"), []
    for validated in (False, True):
        model = preparation.adaptable(adapter, None, bf16)
        if validated:
            with torch.no_grad():
                model.eval()(IDS)
        model.train()(IDS, labels=IDS).loss.backward()
        gradients.append([value.grad for value in model.parameters() if value.requires_grad])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_missing_library_or_device_for_quantization_is_a_user_error(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    with pytest.raises(UserError, match="nf4, which bitsandbytes does not support on cpu"):
        loading.load(base, config.compute, quantised("nf4"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="bitsandbytes is not installed"):
        loading.load(base, config.compute, quantised("int8"))


def test_all_weights_are_trained_saved_in_their_precision_and_adapted_again(
    base: Path, bf16: ComputeConfig, tmp_path: Path
) -> None:
    saving.save_whole(loading.load(base, bf16), loading.tokenizer(base), tmp_path / "base")
    model = preparation.trainable(tmp_path / "base", TuningConfig(method="full", options={}), bf16, quantised("none"))
    assert all(value.requires_grad and value.dtype == torch.float32 for value in model.parameters())
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.data += 0.5
    saving.keep_share(model, 0.5, tmp_path / "base")
    assert all(torch.allclose(value, start[name] + 0.25) for name, value in model.named_parameters())
    saving.save(model, loading.tokenizer(base), tmp_path / "sft", tmp_path / "base")
    stored = load_file(tmp_path / "sft/model.safetensors")
    assert all(torch.equal(stored[name], (value + 0.25).bfloat16()) for name, value in start.items())
    assert adapters.parent(tmp_path / "sft") is None
    adapter = adapt(tmp_path / "sft", tmp_path / "dpo", bf16)
    assert adapters.lineage(adapter) == (tmp_path / "sft", [adapter])
    assert not torch.equal(logits(adapter, bf16), logits(tmp_path / "sft", bf16))
    with pytest.raises(UserError, match=r"base\.quantization must be none, and it is nf4"):
        preparation.trainable(tmp_path / "base", TuningConfig(method="full", options={}), bf16, quantised("nf4"))
    with pytest.raises(UserError, match="has no adapter to train on"):
        preparation.adaptable(tmp_path / "sft", None, bf16)
