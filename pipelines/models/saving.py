"""Save what was trained: an adapter beside its base model, in the form that its method allows, or a whole model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter

from pipelines.models import adapters, quantization, weights
from pipelines.models.config import Quantization
from pipelines.models.head import Model, base_of
from pipelines.models.tuning import bottleneck, stored_form
from pipelines.models.tuning.apply import ADAPTER
from pipelines.runtime.errors import UserError


def keep_share(model: Model, share: float, start: Path) -> None:
    """Scale what was learnt by `share`, in memory and when saved: the adapter "default", or the change since `start`.

    Weight interpolation (WiSE-FT) between the initial and the fine-tuned weights retains more than it loses (Wortsman
    et al. 2022, arXiv:2109.01903; for fine-tuned language models Lin et al. 2023, arXiv:2309.06256).
    """
    if share == 1.0:
        return  # most methods have no factor on their update
    if isinstance(model, peft.PeftModel):
        config = model.peft_config[ADAPTER]
        config.lora_alpha *= share
        config.alpha_pattern = {module: alpha * share for module, alpha in config.alpha_pattern.items()}
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scale_layer(share)
    else:
        _interpolate(model, share, start)


@torch.no_grad()
def _interpolate(model: PreTrainedModel, share: float, start: Path) -> None:
    left = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for shard in weights.files(start):
        with safe_open(shard, framework="pt", device=str(model.device)) as stored:
            for name in sorted(left.keys() & stored.keys()):
                value = left.pop(name)
                value.copy_(torch.lerp(stored.get_tensor(name).float(), value.float(), share))
    if left:
        raise UserError(f"{start} does not store {sorted(left)[0]}; adapter_scale must be 1 for this model.")


def save(model: Model, tok: PreTrainedTokenizerBase, out: Path, start: Path) -> None:
    """Save an adapter, or in the precision of the model `start` that training started from all weights or a delta.

    Raises:
        UserError: a weight is not finite, or the disk is too small.
    """
    everything = all(value.requires_grad for value in model.parameters())
    if isinstance(model, peft.PeftModel) or bottleneck.of(model) is not None:
        save_adapter(model, tok, out)
    elif everything:
        save_whole(model, tok, out, AutoConfig.from_pretrained(start).dtype)
    else:
        _save_delta(model, tok, out, start)


def save_adapter(model: Model, tok: PreTrainedTokenizerBase, out: Path) -> None:
    """Save the adapter "default", or bottleneck adapters, with the directory, hash and quantization of its base model.

    A method is saved in the simplest form that computes the same: AdaLoRA and LoRA with a subtracted initial update as
    LoRA, P-tuning and prefix tuning with a projection without the network that computed their tokens.

    Raises:
        UserError: a weight is not finite, so that a diverged model is never saved, or the disk is too small.
    """
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    weights.require_finite(trained)
    weights.require_space(out, sum(value.nbytes for _, value in trained))
    base = base_of(model)
    if isinstance(model, peft.PeftModel):
        _save_peft(model, out)
    else:
        added = bottleneck.of(model)
        assert added is not None
        _describe(out, adapters.BOTTLENECK, Path(base.config._name_or_path), added.options())
        _write(added.state_dict(), out)
    adapters.record_base(out, quantization.kind_of(base))
    tok.save_pretrained(out)


def _save_peft(model: peft.PeftModel, out: Path) -> None:
    below = str(base_of(model).config._name_or_path)
    if (form := stored_form.of(model)) is not None:
        _write_peft(*form, below, out)
        return
    config = model.peft_config[ADAPTER]
    if isinstance(targets := getattr(config, "target_modules", None), set):
        config.target_modules = sorted(targets)  # the order of a set differs between processes
    config.base_model_name_or_path = below
    model.save_pretrained(out, selected_adapters=[ADAPTER])
    (out / "README.md").unlink(missing_ok=True)


def _write_peft(config: peft.PeftConfig, tensors: Mapping[str, torch.Tensor], below: str, out: Path) -> None:
    config.base_model_name_or_path, config.inference_mode = below, True
    config.save_pretrained(out)
    _write(tensors, out)


def save_lora(
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]], base: Path, kind: Quantization, out: Path
) -> None:
    """Save factors A [r, in] and B [out, r] by the name of their module as a LoRA adapter of scale 1 on `base`.

    `kind` is the quantization of the base model for which they were trained.

    Raises:
        UserError: the disk is too small.
    """
    ranks = {module: len(down) for module, (down, _) in factors.items()}
    largest = max(ranks.values())
    other = {module: rank for module, rank in ranks.items() if rank != largest}
    config = peft.LoraConfig(
        r=largest,
        lora_alpha=largest,
        rank_pattern=other,
        alpha_pattern=dict(other),
        target_modules=sorted(factors),
        task_type="CAUSAL_LM",
    )
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": value
        for module, pair in factors.items()
        for letter, value in zip("AB", pair, strict=True)
    }
    weights.require_space(out, sum(value.nbytes for value in tensors.values()))
    _write_peft(config, tensors, str(base), out)
    adapters.record_base(out, kind)


def _write(tensors: Mapping[str, torch.Tensor], out: Path) -> None:
    save_file({name: value.detach().contiguous().cpu() for name, value in tensors.items()}, out / adapters.WEIGHTS)


def _save_delta(model: PreTrainedModel, tok: PreTrainedTokenizerBase, out: Path, start: Path) -> None:
    """Save the trained parameters of the model itself, beside the model in `start`."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    weights.require_finite(trained.items())
    weights.require_space(out, sum(value.nbytes for value in trained.values()))
    precision = AutoConfig.from_pretrained(start).dtype
    _describe(out, adapters.DELTA, start, {})
    _write({name: value.to(precision) for name, value in trained.items()}, out)
    adapters.record_base(out, quantization.kind_of(model))
    tok.save_pretrained(out)


def _describe(out: Path, method: str, start: Path, options: Mapping[str, Any]) -> None:
    """Write adapter_config.json of a method that is not PEFT's."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {"peft_type": method, "base_model_name_or_path": str(start), "options": dict(options)}
    (out / adapters.CONFIG).write_text(json.dumps(facts, indent=2), encoding="utf-8")


def save_whole(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, out: Path, precision: torch.dtype | None = None
) -> None:
    """Save a whole model as safetensors of at most `weights.SHARD`, with its tokenizer and chat template.

    Its parameters are first cast to `precision`, one after the other; buffers, such as rotary frequencies, are not.
    They are stored under the names that they have in the model, which adapters refer to; those of its publisher differ
    in models that also read images. Stacked experts are stored one by one, as other programs expect them.

    Raises:
        UserError: a weight is not finite, or the disk is too small.
    """
    weights.require_finite(model.named_parameters())
    for value in model.parameters():
        value.data = value.data.to(precision or value.dtype)
    weights.require_space(out, sum(value.nbytes for value in model.parameters()))
    model.save_pretrained(out, max_shard_size=weights.SHARD, save_original_format=_stacks(model))
    tok.save_pretrained(out)
    weights.keep_hash(out)


def _stacks(model: PreTrainedModel) -> bool:
    """Return whether transformers loads several stored weights as one, such as the experts of a mixture."""
    conversions = get_model_conversion_mapping(model, add_legacy=False)
    return any(isinstance(each, WeightConverter) for each in conversions)
