"""Models: saving and loading are lossless, also for adapters, and unknown names raise a UserError."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models import adapters, loading, saving
from pipelines.models.config import BaseModelConfig
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from tests.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
IDS = torch.tensor([[3, 50, 70, 90, 110]])


def settings(model: str, quantization: str = "none") -> BaseModelConfig:
    return BaseModelConfig.model_validate(
        {
            "model": model,
            "chat_template": None,
            "thinking": False,
            "quantization": quantization,
            "trust_remote_code": False,
        }
    )


def perturbed(directory: Path, config: Config, out: Path) -> torch.Tensor:
    """Save an adapter that changes the model; return the resulting logits."""
    model = preparation.adaptable(directory, LORA, config.compute).eval()
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    saving.save_adapter(model, loading.tokenizer(directory), out)
    with torch.no_grad():
        return model(IDS).logits


def test_fetched_model_has_padding_token_other_than_eos(tmp_path: Path) -> None:
    tok = tiny_tokenizer()
    tok.pad_token = tok.eos_token
    tiny_model(tok).save_pretrained(tmp_path / "model")
    tok.save_pretrained(tmp_path / "model")
    model, fetched = loading.fetch(settings(str(tmp_path / "model")), "base.model", torch.float32)
    assert fetched.pad_token_id != fetched.eos_token_id
    assert model.generation_config.pad_token_id == fetched.pad_token_id


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no_such_package", "no such package"),
        ("somewhere/else", "no model in that directory"),
        ("hf:org/not-there@main", "cannot be loaded"),
    ],
)
def test_unknown_model_raises_user_error(name: str, message: str, project: Path) -> None:
    with pytest.raises(UserError, match=message):
        loading.fetch(settings(name), "base.model", torch.float32)


def test_model_that_lacks_a_weight_raises_user_error(tmp_path: Path) -> None:
    tok = tiny_tokenizer()
    tok.save_pretrained(tmp_path)
    tiny_model(tok).save_pretrained(tmp_path)
    loading.fetch(settings(str(tmp_path)), "base.model", torch.float32)  # its output layer is tied, and not stored
    stored = load_file(tmp_path / "model.safetensors")
    del stored["model.layers.1.mlp.up_proj.weight"], stored["model.norm.weight"]
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"LlamaForCausalLM needs the weight model\.layers\.1\.mlp\.up_proj\.weight and 1 "
    ):
        loading.fetch(settings(str(tmp_path)), "base.model", torch.float32)


def test_quantised_model_without_its_library_raises_user_error(tmp_path: Path) -> None:
    tok = tiny_tokenizer()
    tok.save_pretrained(tmp_path)
    model = tiny_model(tok)
    model.save_pretrained(tmp_path)
    config = artifacts.read_json(tmp_path / "config.json")
    artifacts.write_json(
        tmp_path / "config.json", {**config, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    )
    with pytest.raises(UserError, match=r"cannot be loaded: .*requires.*; if it is quantised, name the 16-bit model"):
        loading.fetch(settings(str(tmp_path)), "base.model", torch.float32)


def test_package_must_contain_exactly_one_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_models").mkdir()
    for name in ("__init__.py", "a.gguf", "b.gguf"):
        (tmp_path / "two_models" / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="one GGUF file"):
        loading.fetch(settings("package:two_models"), "base.model", torch.float32)


def test_loaded_adapter_is_merged_with_equal_logits(base: Path, config: Config) -> None:
    expected = perturbed(base, config, artifacts.fresh("sft"))
    with torch.no_grad():
        merged = loading.load(Path("artifacts/sft"), config.compute)(IDS).logits
        plain = loading.load(base, config.compute)(IDS).logits
    assert torch.allclose(merged, expected, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_saved_adapter_is_identical_across_processes(base: Path, config: Config) -> None:
    perturbed(base, config, artifacts.fresh("sft"))
    names = artifacts.read_json(Path("artifacts/sft/adapter_config.json"))["target_modules"]
    assert len(names) > 1
    assert names == sorted(names)


def test_adapter_training_can_be_continued(base: Path, config: Config) -> None:
    expected = perturbed(base, config, artifacts.fresh("sft"))
    again = preparation.adaptable(Path("artifacts/sft"), None, config.compute).eval()
    trainable = [name for name, value in again.named_parameters() if value.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert all(value.dtype == torch.float32 for value in again.parameters() if value.requires_grad)
    with torch.no_grad():
        assert torch.allclose(again(IDS).logits, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "stored"),
    [
        ("lora", {"r": 4, "lora_alpha": 8}, {"r": 4}),
        ("lora", {"r": 6, "init_lora_weights": "pissa"}, {"r": 12, "lora_alpha": 16}),
        ("oft", {"oft_block_size": 16}, {"oft_block_size": 16}),
        ("p_tuning", {"num_virtual_tokens": 2}, {"num_virtual_tokens": 2}),
    ],
)
def test_method_of_a_saved_adapter_is_read(
    base: Path, config: Config, method: str, options: dict[str, object], stored: dict[str, object]
) -> None:
    model = preparation.adaptable(base, TuningConfig(method=method, options=options), config.compute)
    saving.save_adapter(model, loading.tokenizer(base), Path("saved"))
    found = adapters.tuning(Path("saved"))
    assert found.method == {"p_tuning": "prompt_tuning"}.get(method, method)
    assert {name: found.options[name] for name in stored} == stored
    assert adapters.continued(Path("saved")) and not adapters.continued(base)


def test_adapters_with_the_same_seed_are_equal(base: Path, config: Config) -> None:
    torch.manual_seed(99)
    one = preparation.adaptable(base, LORA, config.compute)
    torch.manual_seed(1)
    two = preparation.adaptable(base, LORA, config.compute)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_nf4_quantises_the_frozen_weights(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute, settings("unused", "nf4"))
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in model.parameters())


def test_adapter_with_nan_is_not_saved(base: Path, config: Config) -> None:
    model = preparation.adaptable(base, LORA, config.compute)
    next(value for value in model.parameters() if value.requires_grad).data.fill_(float("nan"))
    with pytest.raises(UserError, match="NaN"):
        saving.save_adapter(model, loading.tokenizer(base), artifacts.fresh("sft"))


def test_adapter_scale_is_kept_when_saved(base: Path, config: Config, tmp_path: Path) -> None:
    whole = perturbed(base, config, tmp_path / "whole")
    model = preparation.adaptable(tmp_path / "whole", None, config.compute).eval()
    saving.keep_share(model, 0.5, base)
    saving.save_adapter(model, loading.tokenizer(base), tmp_path / "half")
    with torch.no_grad():
        half, start = model(IDS).logits, loading.load(base, config.compute)(IDS).logits
        again = preparation.adaptable(tmp_path / "half", None, config.compute).eval()(IDS).logits
    assert torch.equal(half, again)
    assert 0 < (half - start).abs().max() < (whole - start).abs().max()
