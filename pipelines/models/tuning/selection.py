"""Selections of a model's own parameters: all, whole layers, biases, norms, or those with much Fisher information."""

import re

from torch import nn
from transformers import PreTrainedModel

from pipelines.models.tuning.config import LayersOptions, TuningConfig
from pipelines.runtime.errors import UserError


def select(model: PreTrainedModel, tuning: TuningConfig) -> None:
    """Make the selected parameters trainable, in float32, and freeze the others.

    Raises:
        UserError: the model has no such parameter, or it is quantised.
    """
    names = selected(model, tuning)
    if not names:
        raise UserError(f"tuning.method is {tuning.method}, and {type(model).__name__} has no such parameter.")
    for name, value in model.named_parameters():
        if name in names and not value.is_floating_point():
            raise UserError(
                f"Quantised weights cannot be trained: {tuning.method} selects {name}; set base.quantization to none."
            )
        value.requires_grad_(name in names)
        if name in names:
            value.data = value.data.float()


def selected(model: PreTrainedModel, tuning: TuningConfig) -> set[str]:
    """Return the names of the parameters that a method selects.

    Raises:
        UserError: a layer or name does not exist.
    """
    every = [name for name, _ in model.named_parameters()]
    if tuning.method == "bias":
        return {name for name in every if name.endswith(".bias")}
    if tuning.method == "norms":
        return _norms(model)
    if tuning.method == "layers":
        options = LayersOptions.model_validate(tuning.options)
        if options.names is not None:
            return _by_name(every, options.names)
        return {name for layer in layer_names(model, options) for name in every if name.startswith(f"{layer}.")}
    return set(every)  # of full fine-tuning; fisher masks the gradients


def _norms(model: PreTrainedModel) -> set[str]:
    """Return the parameters of normalisation layers, whose class is another one in each architecture."""
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if re.search(r"norm", type(module).__name__, re.IGNORECASE)
        for own, _ in module.named_parameters(recurse=False)
    }


def _by_name(every: list[str], patterns: list[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in every if re.search(pattern, name)}
        if not matching:
            raise UserError(f"tuning.options.names: no parameter matches {pattern!r}; one is {every[0]}.")
        found |= matching
    return found


def layer_names(model: PreTrainedModel, options: LayersOptions) -> list[str]:
    """Return the names of the selected decoder layers, from first to last.

    Raises:
        UserError: the model has fewer layers, or none that can be told apart.
    """
    layers = next((name for name, module in model.named_modules() if _is_stack(module, model)), None)
    if layers is None:
        raise UserError(f"The layers of {type(model).__name__} are unknown; select parameters by tuning.options.names.")
    count = model.config.get_text_config().num_hidden_layers
    start = count - options.last if options.last is not None else options.first or 0
    if not 0 <= start < count:
        raise UserError(f"tuning.options selects {options.last or f'layer {start}'} of {count} layers.")
    return [f"{layers}.{index}" for index in range(start, count)]


def _is_stack(module: nn.Module, model: PreTrainedModel) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == model.config.get_text_config().num_hidden_layers
