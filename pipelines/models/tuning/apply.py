"""Make a loaded model trainable by a method, and compute with it as it was before."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from pipelines.models.head import Model, base_of
from pipelines.models.tuning import bottleneck, peft_methods, selection, virtual_tokens
from pipelines.models.tuning.config import BottleneckOptions, TuningConfig
from pipelines.runtime.errors import UserError

ADAPTER, INITIAL = "default", "initial"
"""Names of the trained adapter, and of a frozen one that subtracts its initial update."""


def apply(model: PreTrainedModel, tuning: TuningConfig) -> Model:
    """Freeze `model` and make what `tuning` names trainable, in float32; seed torch before.

    Raises:
        UserError: the model lacks what the method changes, such as a target module.
    """
    if tuning.selects:
        selection.select(model, tuning)
        return model
    if tuning.method == "bottleneck":
        bottleneck.attach(model, BottleneckOptions.model_validate(tuning.options))
        return model
    config = peft_methods.configuration(tuning.method, tuning.options, str(model.config._name_or_path))
    if getattr(config, "exclude_modules", "") is None:  # "" stands for methods without target modules
        config.exclude_modules = _beside_decoder(model)
    model.requires_grad_(False)
    try:
        adapted = peft.get_peft_model(model, config)
    except (TypeError, ValueError, re.error) as error:
        raise UserError(f"tuning.method {tuning.method} does not fit {type(model).__name__}: {error}") from error
    assert isinstance(adapted, peft.PeftModel)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if model.device.type == "meta":
        return adapted  # only its sizes are wanted
    if tuning.virtual:
        virtual_tokens.VirtualTokens(adapted)
    elif start := tuning.replaced_init:
        _replace_init(adapted, start)
    return adapted


def _beside_decoder(model: PreTrainedModel) -> str | None:
    """Return a pattern of the modules that text does not reach, such as the vision tower of Gemma 3; None without."""
    decoder, base = model.get_decoder(), model.base_model
    if decoder is base:
        return None
    beside = [name for name, child in base.named_children() if all(each is not decoder for each in child.modules())]
    return rf"{model.base_model_prefix}\.({'|'.join(beside)})\..*" if beside else None


def _replace_init(model: peft.PeftModel, start: str) -> None:
    """Initialise the adapter from the weights.

    LoftQ (Li et al. 2023, arXiv:2310.08659) fits A and B to the rounding errors of NF4 weights. PiSSA (Meng et al.
    2024, arXiv:2404.02948) and OLoRA (Büyükakyüz 2024, arXiv:2406.01775) start at singular vectors or an orthonormal
    basis of a weight W, which PEFT replaces by W - sBA. Here W stays, and a second, frozen adapter subtracts sBA:
    disabling both gives the original model, and their sum is saved as one LoRA (`saving.save_adapter`).

    Raises:
        UserError: LoftQ is to be applied to a model that is stored in several files.
    """
    if start == "loftq":
        stored = Path(base_of(model).config._name_or_path) / "model.safetensors"
        if not stored.exists():
            raise UserError("init_lora_weights is loftq, which reads weights from one file; set it to true.")
        peft.replace_lora_weights_loftq(model, model_path=str(stored))
        return
    with torch.no_grad():
        layers = [module for module in model.modules() if isinstance(module, peft.tuners.lora.LoraLayer)]
        model.add_adapter(INITIAL, model.peft_config[ADAPTER])
        for layer in layers:
            weight = layer.get_base_layer().weight
            before = weight.clone()
            if start == "olora":
                layer.olora_init(ADAPTER)
            else:
                layer.pissa_init(ADAPTER, start)
            layer.get_base_layer().weight.data = before
            layer.lora_A[INITIAL].weight.copy_(layer.lora_A[ADAPTER].weight)
            layer.lora_B[INITIAL].weight.copy_(-layer.lora_B[ADAPTER].weight)
    model.base_model.set_adapter([ADAPTER, INITIAL])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{ADAPTER}." in name)


def parts(model: peft.PeftModel, name: str) -> list[str]:
    """Return the adapters whose sum is the update `name`: with PiSSA or OLoRA also the one that subtracts its start.

    Copies of the trained adapter share its configuration, and need it too; adapters loaded from a folder do not.
    """
    initial = model.peft_config.get(INITIAL)
    return [name] if initial is None or model.peft_config[name] is not initial else [name, INITIAL]


@contextmanager
def without_input_casts(model: nn.Module) -> Iterator[None]:
    """Leave the casts of inputs to autocast inside the block; PEFT would copy every input to float32 first.

    As `peft.helpers.disable_input_dtype_casting`, which fails for methods whose layers have no such casts.
    """
    name = "cast_input_dtype_enabled"
    layers = [module for module in model.modules() if name in vars(module)]  # hasattr is slow on a module without it
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, False)
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            setattr(layer, name, value)


@contextmanager
def original(model: Model) -> Iterator[Model]:
    """Yield `model` without what its method added, for use inside the block: as it was before it was trained."""
    added = bottleneck.of(model)
    if added is not None:
        added.enabled = False
        try:
            yield model
        finally:
            added.enabled = True
    elif (tokens := virtual_tokens.of(model)) is not None:
        with virtual_tokens.disabled(tokens):
            yield model
    else:
        assert isinstance(model, peft.PeftModel), "a model whose own parameters are trained is lost"
        with model.disable_adapter():
            yield model
