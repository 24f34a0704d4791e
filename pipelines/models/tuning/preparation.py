"""Models prepared for training: frozen, and trainable by a method."""

from pathlib import Path

import peft
import torch
from transformers import PreTrainedModel

from pipelines.models import adapters, quantization
from pipelines.models.config import BaseModelConfig, ComputeConfig, Quantization
from pipelines.models.devices import device
from pipelines.models.fused.patch import fuse
from pipelines.models.head import Model, base_of
from pipelines.models.loading import first_adapter, whole
from pipelines.models.parallel import sharding
from pipelines.models.tuning import bottleneck, updates
from pipelines.models.tuning.apply import ADAPTER, apply
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError


def trainable(
    directory: Path, tuning: TuningConfig, compute: ComputeConfig, base: BaseModelConfig, sharded: bool = False
) -> Model:
    """Return the whole model in `directory`, trainable by a method; its layers may be `sharded`.

    Selected parameters are trained in float32, with products in the precision of autocast; `save` stores them in the
    precision of the model in `directory`.

    Raises:
        UserError: the method does not fit the model, or parameters are selected that are quantised.
    """
    if not tuning.selects:
        return adaptable(directory, tuning, compute, base)
    if base.quantization != "none" and tuning.method in ("full", "fisher"):
        raise UserError(
            f"Quantised weights cannot be trained: with tuning.method {tuning.method}, base.quantization must be none, "
            f"and it is {base.quantization}."
        )
    torch.manual_seed(compute.seed)
    if not sharded:
        return _selected(directory, tuning, compute, base, compute)
    mesh = sharding.mesh(compute)
    with sharding.in_turn():
        model = _selected(directory, tuning, compute, base, compute.model_copy(update={"device": "cpu"}))
        assert isinstance(model, PreTrainedModel)
        sharding.shard(model, compute, mesh)
    return model


def _selected(
    directory: Path, tuning: TuningConfig, compute: ComputeConfig, base: BaseModelConfig, place: ComputeConfig
) -> Model:
    """Load the whole model in `directory` to the device of `place`, with the parameters trainable that are selected."""
    precision = torch.float32 if tuning.method in ("full", "fisher") else None
    model = whole(directory, place, base.quantization, precision, **_attention(compute))
    quantization.keep_differentiable(model)
    return apply(model, tuning)


def adaptable(
    directory: Path, tuning: TuningConfig | None, compute: ComputeConfig, base: BaseModelConfig | None = None
) -> Model:
    """Return a frozen model with a trainable float32 adapter, which is named "default" if it is PEFT's.

    A whole model, a delta or bottleneck adapters get a new adapter, configured by `tuning`; a whole model is quantised
    according to `base.quantization`. An adapter in PEFT's format is continued on the base model and quantization that
    it has. The seed is set before the adapter is created. A Llama model on a CPU gets fused layers.

    Raises:
        UserError: there is no adapter to continue, and `tuning` is None or trains the model's own parameters; or the
            adapter cannot be applied to the model, or initialised from its weights.
    """
    torch.manual_seed(compute.seed)
    below = adapters.parent(directory)
    if below is not None and adapters.continued(directory):
        root, above = adapters.lineage(directory)
        model = frozen(below, compute, adapters.quantization(above))
        adapters.check(directory, root)
        adapted = first_adapter(model, directory, is_trainable=True, device_map={"": str(device(compute))})
        start = below
    elif tuning is not None and not tuning.selects:
        kind = base.quantization if base is not None else "none"
        quantised = adapters.quantization(adapters.lineage(directory)[1]) if below is not None else kind
        tuning.check_init(quantised, device(compute).type)
        adapted, start = apply(frozen(directory, compute, quantised), tuning), directory
    else:
        raise UserError(
            f"{directory} has no adapter to train on, such as a reward model has; name a folder with one, or set a "
            "tuning.method that adds one, such as lora."
        )
    if isinstance(adapted, peft.PeftModel):
        fuse(adapted)
        adapted.peft_config[ADAPTER].base_model_name_or_path = str(start)
    base_of(adapted).config._name_or_path = str(start)
    return adapted


def peft_adaptable(
    directory: Path, tuning: TuningConfig | None, compute: ComputeConfig, base: BaseModelConfig | None = None
) -> peft.PeftModel:
    """Return `adaptable` with an adapter of PEFT, of which the model can carry several.

    Raises:
        UserError: as `adaptable`, or `tuning` adds another kind of adapter.
    """
    model = adaptable(directory, tuning, compute, base)
    if not isinstance(model, peft.PeftModel):
        raise UserError("align.tuning.method must be an adapter of PEFT, such as lora, and it is bottleneck.")
    return model


def frozen(directory: Path, compute: ComputeConfig, kind: Quantization = "none") -> PreTrainedModel:
    """Load a frozen model for adapter training, in the precision of `compute` or quantised.

    Raises:
        UserError: below the whole model in `directory` is an adapter that is neither a delta nor a bottleneck.
    """
    root, above = adapters.lineage(directory)
    if other := [each for each in above if adapters.continued(each)]:
        raise UserError(f"{directory} adapts the adapter {other[0]}; only one on a whole model can be trained on.")
    model = whole(root, compute, kind, None, **_attention(compute)).requires_grad_(False)
    for each in above:
        if adapters.method(each) == adapters.DELTA:
            updates.replace_in(model, each)
        else:
            bottleneck.load(model, each)
    model.requires_grad_(False)
    quantization.keep_differentiable(model)
    return model


def _attention(compute: ComputeConfig) -> dict[str, str]:
    """Return eager attention on a CPU, for training.

    The backward pass of PyTorch's fused attention takes 23% of a step on rows of 42 tokens (measured: 605 tokens/s
    with fused attention, 789 with eager).
    """
    return {"attn_implementation": "eager"} if device(compute).type == "cpu" else {}
