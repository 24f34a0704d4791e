"""Save what was trained: an adapter beside its base model, or a whole model."""

from pathlib import Path

import peft
import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.models import adapters, quantization, weights
from pipelines.models.head import base_of
from pipelines.runtime.errors import UserError


def keep_share(model: PreTrainedModel | peft.PeftModel, share: float, start: Path) -> None:
    """Scale what was learnt by `share`, in memory and when saved: the adapter "default", or the change since `start`.

    Weight interpolation (WiSE-FT) between the initial and the fine-tuned weights retains more than it loses (Wortsman
    et al. 2022, arXiv:2109.01903; for fine-tuned language models Lin et al. 2023, arXiv:2309.06256).
    """
    if isinstance(model, peft.PeftModel):
        model.peft_config["default"].lora_alpha *= share
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scale_layer(share)
    elif share != 1.0:
        _interpolate(model, share, start)


@torch.no_grad()
def _interpolate(model: PreTrainedModel, share: float, start: Path) -> None:
    left = dict(model.named_parameters())
    for shard in weights.files(start):
        with safe_open(shard, framework="pt", device=str(model.device)) as stored:
            for name in left.keys() & stored.keys():
                value = left.pop(name)
                value.copy_(torch.lerp(stored.get_tensor(name).float(), value.float(), share))
    if left:
        raise UserError(f"{start} does not store {sorted(left)[0]}; adapter_scale must be 1 for this model.")


def save(model: PreTrainedModel | peft.PeftModel, tok: PreTrainedTokenizerBase, out: Path, start: Path) -> None:
    """Save the adapter "default", or all weights in the precision of the model `start` that training started from.

    Raises:
        UserError: a weight is not finite, or the disk is too small.
    """
    if isinstance(model, peft.PeftModel):
        save_adapter(model, tok, out)
    else:
        save_whole(model, tok, out, AutoConfig.from_pretrained(start).dtype)


def save_adapter(model: peft.PeftModel, tok: PreTrainedTokenizerBase, out: Path) -> None:
    """Save the adapter "default" to `out`, with the directory, hash and quantization of its base model.

    Raises:
        UserError: a weight is not finite, so that a diverged model is never saved, or the disk is too small.
    """
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    weights.require_finite(trained)
    weights.require_space(out, sum(value.nbytes for _, value in trained))
    config = model.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # the order of a set differs between processes
    model.save_pretrained(out, selected_adapters=["default"])
    (out / "README.md").unlink(missing_ok=True)
    adapters.record_base(out, quantization.kind_of(base_of(model)))
    tok.save_pretrained(out)


def save_whole(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, out: Path, precision: torch.dtype | None = None
) -> None:
    """Save a whole model as safetensors of at most `weights.SHARD`, with its tokenizer and chat template.

    Its parameters are first cast to `precision`, one after the other; buffers, such as rotary frequencies, are not.

    Raises:
        UserError: a weight is not finite, or the disk is too small.
    """
    weights.require_finite(model.named_parameters())
    for value in model.parameters():
        value.data = value.data.to(precision or value.dtype)
    weights.require_space(out, sum(value.nbytes for value in model.parameters()))
    model.save_pretrained(out, max_shard_size=weights.SHARD)
    tok.save_pretrained(out)
    weights.keep_hash(out)
