"""Bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751, and variants), which PEFT does not have.

Each adds `scale * up(relu(down(x)))` to the output of a module: in series x is that output, in parallel the module's
input. A model with them cannot be merged, because they are not linear.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.models.tuning.config import BottleneckOptions, LayersOptions
from pipelines.models.tuning.selection import layer_names
from pipelines.runtime.errors import UserError

NAME = "bottleneck_adapters"
"""The submodule of the decoder with all adapters."""


class Adapters(nn.ModuleDict):
    """All adapters of a model, by the module whose output they change."""

    enabled = True

    def options(self) -> dict[str, Any]:
        """Return the options that all adapters have."""
        first = next(iter(self.values()))
        assert isinstance(first, Bottleneck)
        return first.options.model_dump(mode="json")


class Bottleneck(nn.Module):
    """One adapter of a module with `width` outputs; float32, zero at first."""

    def __init__(self, owner: Adapters, width: int, options: BottleneckOptions) -> None:
        """Initialise the down-projection like a linear layer, and the up-projection to zero."""
        super().__init__()
        self.down, self.up = nn.Linear(width, options.size), nn.Linear(options.size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.options = options
        self.owners = [owner]  # in a list, since it must not become a submodule of its own member

    def forward(self, source: Tensor) -> Tensor:
        """Return what is added to the output [..., width]."""
        hidden = self.down(source.to(self.down.weight.dtype))
        added: Tensor = self.options.scale * self.up(torch.relu(hidden))
        return added.to(source.dtype)

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Change the output of a module, or the first of its outputs."""
        if not self.owners[0].enabled:
            return output
        first = output[0] if isinstance(output, tuple) else output
        changed = first + self(inputs[0] if self.options.placement == "parallel" else first)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


def attach(model: PreTrainedModel, options: BottleneckOptions) -> Adapters:
    """Freeze `model`, add adapters to it and return them.

    Raises:
        UserError: its layers are not named as in Llama and its relatives, or all are left out.
    """
    model.requires_grad_(False)
    adapters = Adapters()
    places = ("self_attn", "mlp") if options.placement == "houlsby" else ("mlp",)
    for name in layer_names(model, LayersOptions(first=options.drop_first)):
        layer = model.get_submodule(name)
        for place in places:
            module = getattr(layer, place, None)
            if module is None:
                raise UserError(
                    f"{type(model).__name__} has no {name}.{place}, where tuning.method bottleneck adds an adapter; "
                    "use a method of PEFT, such as lora."
                )
            adapter = Bottleneck(adapters, model.config.get_text_config().hidden_size, options)
            adapters[f"{name}.{place}".replace(".", "_")] = adapter.to(model.device)
            module.register_forward_hook(adapter.hook)
    model.get_decoder().add_module(NAME, adapters)
    return adapters


def of(model: Any) -> Adapters | None:
    """Return the adapters of a model that PEFT does not wrap; None if it has none."""
    found = getattr(model.get_decoder(), NAME, None) if isinstance(model, PreTrainedModel) else None
    return found if isinstance(found, Adapters) else None


def load(model: PreTrainedModel, directory: Path) -> None:
    """Attach the stored adapters in `directory`.

    Raises:
        UserError: they belong to another architecture or size.
    """
    facts = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    adapters = attach(model, BottleneckOptions.model_validate(facts["options"]))
    try:
        adapters.load_state_dict(load_file(directory / "adapter_model.safetensors"))
    except RuntimeError as error:
        raise UserError(f"The bottleneck adapters in {directory} do not fit {type(model).__name__}: {error}") from error
