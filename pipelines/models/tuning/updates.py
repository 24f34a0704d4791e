"""The updates of LoRA (Hu et al. 2021, arXiv:2106.09685) and of deltas as matrices, added to weights one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import PreTrainedModel

from pipelines.models import weights
from pipelines.models.adapters import DELTA, LORA, PLAIN_INITS, WEIGHTS, method
from pipelines.runtime.errors import UserError

_UNSUPPORTED = (
    *("use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "layer_replication"),
    *("modules_to_save", "target_parameters", "trainable_token_indices", "lora_bias", "fan_in_fan_out"),
)
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Update:
    """The update of one weight: `scale` times the product of `up` [out, r] and `down` [r, in]."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def shape(self) -> list[int]:
        """Shape of the weight."""
        return [self.up.shape[0], self.down.shape[1]]

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the sum of `weight` [out, in] and the update in float32, on the device of `weight`."""
        up, down = (each.to(weight.device, torch.float32) for each in (self.up, self.down))
        return weight.float() + (up @ down) * self.scale


@dataclass(frozen=True)
class Replacement:
    """The trained value of a parameter of the model itself."""

    value: torch.Tensor

    @property
    def shape(self) -> list[int]:
        """Shape of the parameter."""
        return list(self.value.shape)

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the trained value in float32, on the device of `weight`."""
        return self.value.to(weight.device, torch.float32)


Updates = Mapping[str, Update | Replacement]
"""The updates of an adapter by the name of the weight."""


def read(directory: Path) -> Updates:
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
    if getattr(config, "init_lora_weights", None) not in PLAIN_INITS:
        special.append("init_lora_weights")
    others = [key for key in tensors if not (key.startswith(_PREFIX) and key.endswith((_DOWN, _UP)))]
    if special or others:
        raise UserError(
            f"The adapter in {directory} is not an update of matrices because of {', '.join(special) or others[0]}."
        )
    modules = [key.removeprefix(_PREFIX).removesuffix(_UP) for key in tensors if key.endswith(_UP)]
    return {f"{module}.weight": _update(config, tensors, module) for module in modules}


def read_chain(directories: Sequence[Path]) -> list[Updates] | None:
    """Return the updates of each adapter, or None if `read` cannot read one of them."""
    try:
        return [read(each) for each in directories]
    except UserError:
        return None


def _update(config: peft.LoraConfig, tensors: dict[str, torch.Tensor], module: str) -> Update:
    down, up = (tensors[f"{_PREFIX}{module}{end}"] for end in (_DOWN, _UP))
    alpha = config.alpha_pattern.get(get_pattern_key(list(config.alpha_pattern), module), config.lora_alpha)
    return Update(down, up, alpha / (len(down) ** 0.5 if config.use_rslora else len(down)))


def merged(name: str, weight: torch.Tensor, chain: Sequence[Updates]) -> torch.Tensor:
    """Return the weight `name` with the updates of a `chain` of adapters, summed in float32; unchanged without one."""
    for update in chain:
        if name in update:
            weight = update[name].added_to(weight)
    return weight


@torch.no_grad()
def merge_into(model: PreTrainedModel, root: Path, chain: Sequence[Updates]) -> None:
    """Replace weights of `model`, loaded from `root`, by their sums with a `chain` of updates, each rounded once.

    Besides the model this takes the memory of three float32 copies of its largest adapted matrix.

    Raises:
        UserError: an adapter changes a weight that the base model does not store, such as a tied output layer.
    """
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
            raise UserError(
                f"The delta in {directory} has {name} {list(value.shape)}, but its base model has no such parameter."
            )
        own[name].copy_(value)


def changed_names(chain: Sequence[Updates], root: Path) -> set[str]:
    """Return the names of the weights that a chain of adapters changes.

    Raises:
        UserError: the whole model in `root` does not store one of them under that name, or in another shape.
    """
    changed = {name for each in chain for name in each}
    missing = set(changed)
    for shard in weights.files(root):
        with safe_open(shard, framework="pt") as stored:
            names = set(stored.keys())
            missing -= names
            for name, update in ((name, each[name]) for each in chain for name in each.keys() & names):
                if update.shape != (shape := stored.get_slice(name).get_shape()):
                    raise UserError(
                        f"The update {update.shape} of {name} does not fit its base model in {root}, which has {shape}."
                    )
    if missing:
        raise UserError(f"An adapter changes {sorted(missing)[0]}, which its base model in {root} does not store.")
    return changed
