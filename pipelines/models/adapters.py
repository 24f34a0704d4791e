"""LoRA adapters on disk (Hu et al. 2021, arXiv:2106.09685): the model they adapt, and their updates as matrices.

`adapter_config.json` names the directory of the model below, which may be an adapter itself. `base.json` has the hash
of its weights and their quantization in training; an adapter without it, such as the committed teacher's, is not
checked and was trained on 16 bits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import peft
import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel

from pipelines.models import weights
from pipelines.models.quantization import Kind
from pipelines.runtime.errors import UserError

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
_UNSUPPORTED = (
    *("use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "layer_replication"),
    *("modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias", "fan_in_fan_out"),
)
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def parent(directory: Path) -> Path | None:
    """Return the directory of an adapter's base model; None for a whole model."""
    path = directory / CONFIG
    return Path(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]) if path.exists() else None


def lineage(directory: Path) -> tuple[Path, list[Path]]:
    """Return the directory of the whole model, and those of the adapters upon it, lowest first.

    Raises:
        UserError: an adapter was trained on other weights than its base model has now.
    """
    below = parent(directory)
    if below is None:
        return directory, []
    known = _base(directory).get("sha256")
    if known is not None and known != identity(below):
        raise UserError(
            f"The adapter in {directory} was trained on other weights than {below} has now; "
            "train it again, or restore that model."
        )
    root, adapters = lineage(below)
    return root, [*adapters, directory]


def quantization(adapters: Sequence[Path]) -> Kind:
    """Return the quantization of the whole model while the last of its `adapters` was trained."""
    return cast(Kind, _base(adapters[-1]).get("quantization", "none")) if adapters else "none"


def record_base(directory: Path, kind: Kind) -> None:
    """Store the hash and the quantization of the model below a saved adapter."""
    below = parent(directory)
    assert below is not None, "an adapter's configuration names its base model"
    record = {"quantization": kind, "sha256": identity(below)}
    (directory / BASE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _base(directory: Path) -> dict[str, str]:
    path = directory / BASE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def identity(directory: Path) -> str:
    """Return the SHA-256 of the weights in a directory; that of an adapter includes its scale and its base model."""
    below = parent(directory)
    if below is None:
        return weights.known_hash(directory)
    scale = json.loads((directory / CONFIG).read_text(encoding="utf-8"))["lora_alpha"]
    return weights.stored_hash(directory, scale, identity(below))


@dataclass(frozen=True)
class Update:
    """The update of one weight: `scale` times the product of `up` [out, r] and `down` [r, in]."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the sum of `weight` [out, in] and the update in float32, on the device of `weight`."""
        up, down = (each.to(weight.device, torch.float32) for each in (self.up, self.down))
        return weight.float() + (up @ down) * self.scale


Updates = dict[str, Update]
"""The updates of an adapter by the name of the weight."""


def updates(directory: Path) -> Updates:
    """Read the updates of an adapter, with PEFT's scaling (alpha / r, rsLoRA, patterns of ranks and alphas).

    Raises:
        UserError: the adapter changes more than by a low-rank update of linear layers, as DoRA does, or its
            initialisation changed the base weights, as PiSSA does.
    """
    config = peft.PeftConfig.from_pretrained(directory)
    tensors = load_file(directory / WEIGHTS)
    special = [name for name in _UNSUPPORTED if getattr(config, name, None)]
    if getattr(config, "init_lora_weights", None) not in (True, False, "gaussian", "orthogonal"):
        special.append("init_lora_weights")
    others = [key for key in tensors if not (key.startswith(_PREFIX) and key.endswith((_DOWN, _UP)))]
    if config.peft_type != peft.PeftType.LORA or special or others:
        raise UserError(
            f"The adapter in {directory} ({config.peft_type.value}) cannot be merged because of "
            f"{', '.join(special) or others[0]}; only plain LoRA of linear layers can."
        )
    modules = [key.removeprefix(_PREFIX).removesuffix(_UP) for key in tensors if key.endswith(_UP)]
    return {f"{module}.weight": _update(config, tensors, module) for module in modules}


def _update(config: peft.LoraConfig, tensors: dict[str, torch.Tensor], module: str) -> Update:
    down, up = (tensors[f"{_PREFIX}{module}{end}"] for end in (_DOWN, _UP))
    alpha = config.alpha_pattern.get(get_pattern_key(list(config.alpha_pattern), module), config.lora_alpha)
    return Update(down, up, alpha / (len(down) ** 0.5 if config.use_rslora else len(down)))


def merged(name: str, weight: torch.Tensor, chain: Sequence[Updates]) -> torch.Tensor:
    """Return the weight `name` with the updates of a `chain` of adapters, summed in float32; unchanged without one."""
    for updates_of_one in chain:
        if name in updates_of_one:
            weight = updates_of_one[name].added_to(weight)
    return weight


@torch.no_grad()
def merge_into(model: PreTrainedModel, root: Path, directories: Sequence[Path]) -> None:
    """Replace weights of `model`, loaded from `root`, by their sums with the updates of adapters, each rounded once.

    Besides the model this takes the memory of three float32 copies of its largest adapted matrix.

    Raises:
        UserError: an adapter changes a weight that the base model does not store, such as a tied output layer.
    """
    chain = [updates(each) for each in directories]
    changed = changed_names(chain, root)
    own = dict(model.named_parameters())
    for shard in weights.files(root):
        with safe_open(shard, framework="pt", device=str(model.device)) as stored:
            for name in sorted(changed & set(stored.keys())):
                own[name].copy_(merged(name, stored.get_tensor(name), chain))


def changed_names(chain: Sequence[Updates], root: Path) -> set[str]:
    """Return the names of the weights that a chain of adapters changes.

    Raises:
        UserError: the whole model in `root` does not store one of them under that name.
    """
    changed = {name for each in chain for name in each}
    missing = set(changed)
    for shard in weights.files(root):
        with safe_open(shard, framework="pt") as stored:
            missing -= set(stored.keys())
    if missing:
        raise UserError(f"An adapter changes {sorted(missing)[0]}, which its base model in {root} does not store.")
    return changed
