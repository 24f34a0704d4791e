"""Whole models from adapters: merged file by file, and compared with the model that was trained.

An adapter that was trained on NF4 has learnt to correct the rounding errors of those weights, so it is added to the
dequantised NF4 weights, and the sum is stored in the precision of `compute`; `aware=False` adds it to the original
weights instead.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipelines.models import adapters, devices, loading, quantization, weights
from pipelines.models.config import ComputeConfig, Quantization
from pipelines.models.tuning import updates
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track

CONFIG = "config.json"
TrainedOn = Callable[[str, torch.Tensor], torch.Tensor]
_COPIED = ("generation_config.json", "model.safetensors.index.json")


@torch.no_grad()
def merge(directory: Path, out: Path, compute: ComputeConfig, aware: bool = True) -> None:
    """Write the model in `directory`, whole or an adapter, to `out` as a whole model in the precision of `compute`.

    Of LoRA and deltas, one file of the base model is in memory at a time (`weights.SHARD`), and one matrix in float32;
    adapters of other methods are merged by PEFT, which takes the memory of all float32 weights.

    Raises:
        UserError: an adapter cannot be merged, or the disk is too small.
    """
    root, above = adapters.lineage(directory)
    if fixed := [each for each in above if not adapters.can_merge(each)]:
        raise UserError(
            f"The adapter in {fixed[0]} cannot be merged into weights, because {adapters.method(fixed[0])} is not an "
            "update of the model's own parameters; it is used beside its base model."
        )
    chain = updates.read_chain(above)
    updates.changed_names(chain or [], root)
    for each in above:
        adapters.check(each, root)
    weights.require_space(out, weights.size(root, devices.dtype(compute)))
    out.mkdir(parents=True, exist_ok=True)
    trained_on = _trained_on(root, adapters.quantization(above) if aware else "none", devices.dtype(compute))
    if chain is not None:
        _merge_by_file(root, chain, out, compute, trained_on)
    else:
        _merge_whole(root, above, out, compute, trained_on)
    loading.tokenizer(directory).save_pretrained(out)
    weights.keep_hash(out)


def _merge_whole(root: Path, above: Sequence[Path], out: Path, compute: ComputeConfig, trained_on: TrainedOn) -> None:
    """Merge adapters of any method by PEFT."""
    model = loading.whole(root, compute, "none", torch.float32)
    for name, value in model.named_parameters():
        value.copy_(trained_on(name, value))
    model = loading.stacked(model, root, above, compute, "none", torch.float32)
    for value in model.parameters():
        value.data = value.data.to(devices.dtype(compute))
    model.save_pretrained(out, max_shard_size=weights.SHARD)


def _merge_by_file(
    root: Path, chain: Sequence[updates.Updates], out: Path, compute: ComputeConfig, trained_on: TrainedOn
) -> None:
    """Add updates of matrices to one file of the base model after the other."""
    shards, where, precision = weights.files(root), devices.device(compute), devices.dtype(compute)
    for shard in track(shards, f"files of {root} merged", len(shards)):
        merged: dict[str, torch.Tensor] = {}
        with safe_open(shard, framework="pt", device=str(where)) as stored:
            for name in sorted(stored.keys()):
                tensor = updates.merged(name, trained_on(name, stored.get_tensor(name)), chain)
                merged[name] = tensor.to("cpu", precision if tensor.is_floating_point() else None)
        save_file(merged, out / shard.name, {"format": "pt"})
    for name in _COPIED:
        if (root / name).exists():
            shutil.copyfile(root / name, out / name)
    facts = json.loads((root / CONFIG).read_text(encoding="utf-8")) | {"dtype": str(precision).removeprefix("torch.")}
    (out / CONFIG).write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _trained_on(root: Path, kind: Quantization, precision: torch.dtype) -> TrainedOn:
    """Return the function from the name and the stored value of a weight to the value that training computed with."""
    if kind == "none":
        return lambda _, tensor: tensor
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(root))
    names = quantization.quantised_names(model)
    return lambda name, tensor: quantization.rounded(tensor, kind, precision) if name in names else tensor


@dataclass(frozen=True)
class Parity:
    """How far a merged model is from the trained one, over the tokens that the latter decodes greedily."""

    mean_logit_difference: float
    max_logit_difference: float
    equal_tokens: float
    """Share of the tokens that the merged model ranks first too, after the same text."""

    def metrics(self) -> dict[str, float]:
        """Return the measurements by name."""
        return {f"parity.{name}": value for name, value in asdict(self).items()}


@torch.inference_mode()
def parity(
    directory: Path, merged: Path, prompts: Sequence[Sequence[int]], compute: ComputeConfig, new_tokens: int = 32
) -> Parity:
    """Compare the model in `directory`, as it was trained, with its merged weights on tokenised `prompts`.

    The models are loaded one after the other, since both may not fit. The trained model decodes up to `new_tokens`
    tokens per prompt; their logits stay in memory, 20 MB per prompt with a vocabulary of 150,000.
    """
    trained = loading.load(directory, compute)
    texts = [_answered(trained, prompt, new_tokens) for prompt in track(prompts, "prompts decoded", len(prompts))]
    expected = [_logits(trained, text, len(prompt)) for text, prompt in zip(texts, prompts, strict=True)]
    del trained
    other = loading.load(merged, compute)
    found = [_logits(other, text, len(prompt)) for text, prompt in zip(texts, prompts, strict=True)]
    one, two = torch.cat(expected), torch.cat(found)
    difference = (one - two).abs()
    equal = (one.argmax(-1) == two.argmax(-1)).float()
    return Parity(*(float(each) for each in (difference.mean(), difference.max(), equal.mean())))


def _answered(model: PreTrainedModel, prompt: Sequence[int], new_tokens: int) -> torch.Tensor:
    ids = torch.tensor([prompt], device=model.device)
    text: torch.Tensor = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, max_new_tokens=new_tokens
    )
    return text


def _logits(model: PreTrainedModel, text: torch.Tensor, start: int) -> torch.Tensor:
    """Return the logits (tokens, vocabulary), on the CPU in float32, that predict `text` (1, tokens) from `start`."""
    logits: torch.Tensor = model(text).logits[0, start - 1 : -1]
    return logits.float().cpu()
