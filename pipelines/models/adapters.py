"""Adapters on disk: the model they adapt, and the updates of LoRA (Hu et al. 2021, arXiv:2106.09685) as matrices.

An adapter is what a method of `tuning` stores beside a model: PEFT's format, a delta with the trained parameters of the
model itself, or bottleneck adapters. `adapter_config.json` names the method and the directory of the model below, which
may be an adapter itself. `base.json` has the hash of its weights and their quantization in training; an adapter without
it, such as the committed teacher's, is not checked and was trained on 16 bits.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import peft
import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel

from pipelines.models import weights
from pipelines.models.quantization import Kind
from pipelines.models.tuning.peft_methods import UNMERGEABLE
from pipelines.runtime.errors import UserError

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
DELTA, BOTTLENECK, LORA = "DELTA", "BOTTLENECK", "LORA"
"""Values of `peft_type` in adapter_config.json; the first two are not PEFT's."""
_PLAIN_INITS = (True, False, "gaussian", "orthogonal", "eva")
_UNMERGEABLE = (BOTTLENECK, *(name.upper() for name in UNMERGEABLE))
_ORIGIN = ("base_model_name_or_path", "revision")
_UNSUPPORTED = (
    *("use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "layer_replication"),
    *("modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias", "fan_in_fan_out"),
)
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def settings(directory: Path) -> dict[str, Any]:
    """Return the configuration of an adapter; empty for a whole model."""
    path = directory / CONFIG
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def parent(directory: Path) -> Path | None:
    """Return the directory of an adapter's base model; None for a whole model.

    A path that begins with two dots is relative to the adapter, as in the registry; others are to the project.
    """
    below = settings(directory).get("base_model_name_or_path")
    if below is None:
        return None
    return directory / below if below.startswith("..") else Path(below)


def method(directory: Path) -> str:
    """Return the method of an adapter: `peft_type`."""
    return str(settings(directory)["peft_type"])


def can_merge(directory: Path) -> bool:
    """Return whether the adapter is an update of the model's own parameters."""
    return method(directory) not in _UNMERGEABLE


def check(directory: Path, root: Path) -> None:
    """Check an adapter that PEFT itself has to apply to the whole model in `root`.

    Raises:
        UserError: its initialisation changed the weights of the model below it, as PiSSA does in PEFT, or it changes
            the output layer, which is stored only as the embeddings.
    """
    start = settings(directory).get("init_lora_weights")
    if start not in (None, *_PLAIN_INITS):
        raise UserError(
            f"The adapter in {directory} has init_lora_weights {start!r}, for which PEFT changed the weights below; "
            "convert it to plain LoRA when saving it (path_initial_model_for_weight_conversion)."
        )
    tied = json.loads((root / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings", True)
    with safe_open(directory / WEIGHTS, framework="pt") as stored:
        head = next((name for name in stored.keys() if "lm_head.lora" in name), None)  # noqa: SIM118
    if tied and head is not None:
        raise UserError(
            f"The adapter in {directory} changes {head}, which its base model in {root} stores only as its embeddings."
        )


def has_updates(directory: Path) -> bool:
    """Return whether `updates` can read the adapter: a delta, or LoRA of linear layers."""
    try:
        updates(directory)
    except UserError:
        return False
    return True


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
    """Return the SHA-256 of the weights in a directory; that of an adapter includes its options and its base model."""
    below = parent(directory)
    if below is None:
        return weights.known_hash(directory)
    options = {name: value for name, value in settings(directory).items() if name not in _ORIGIN}
    return weights.stored_hash(directory, options, identity(below))


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


@dataclass(frozen=True)
class Replacement:
    """The trained value of a parameter of the model itself."""

    value: torch.Tensor

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the trained value in float32, on the device of `weight`."""
        return self.value.to(weight.device, torch.float32)


Updates = Mapping[str, Update | Replacement]
"""The updates of an adapter by the name of the weight."""


def updates(directory: Path) -> Updates:
    """Read the updates of a delta or of LoRA, with PEFT's scaling (alpha / r, rsLoRA, patterns of ranks and alphas).

    Raises:
        UserError: the adapter changes more than by a low-rank update of linear layers, as DoRA does, or its
            initialisation changed the base weights, as PiSSA does.
    """
    kind = method(directory)
    if kind == DELTA:
        return {name: Replacement(value) for name, value in load_file(directory / WEIGHTS).items()}
    if kind != LORA:
        raise UserError(f"The adapter in {directory} ({kind}) is not an update of matrices.")
    config = peft.PeftConfig.from_pretrained(directory)
    tensors = load_file(directory / WEIGHTS)
    special = [name for name in _UNSUPPORTED if getattr(config, name, None)]
    if getattr(config, "init_lora_weights", None) not in _PLAIN_INITS:
        special.append("init_lora_weights")
    others = [key for key in tensors if not (key.startswith(_PREFIX) and key.endswith((_DOWN, _UP)))]
    if special or others:
        raise UserError(
            f"The adapter in {directory} is not an update of matrices because of {', '.join(special) or others[0]}."
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


@torch.no_grad()
def replace_in(model: PreTrainedModel, directory: Path) -> None:
    """Replace parameters of `model` by those of a delta.

    Raises:
        UserError: the model has no such parameter, or it has another shape.
    """
    own = dict(model.named_parameters())
    for name, value in load_file(directory / WEIGHTS).items():
        if name not in own or own[name].shape != value.shape:
            raise UserError(f"The delta in {directory} has {name} {list(value.shape)}, which its base model has not.")
        own[name].copy_(value)


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
