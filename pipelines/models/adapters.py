"""Adapters on disk: their method, and the model they adapt.

An adapter is what a method of `tuning` stores beside a model: PEFT's format, a delta with the trained parameters of the
model itself, or bottleneck adapters. `adapter_config.json` names the method and the directory of the model below, which
may be an adapter itself. `base.json` has the hash of its weights and their quantization in training; an adapter without
it, such as the committed teacher's, is not checked and was trained on weights without quantization.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import peft
from safetensors import safe_open

from pipelines import artifacts
from pipelines.models import weights
from pipelines.models.config import Quantization
from pipelines.models.tuning.config import UNMERGEABLE, TuningConfig
from pipelines.runtime.errors import UserError

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
DELTA, BOTTLENECK, LORA = "DELTA", "BOTTLENECK", "LORA"
"""Values of `peft_type` in adapter_config.json; the first two are not PEFT's."""
PLAIN_INITS = (True, False, "gaussian", "orthogonal", "eva")
_ORIGIN = ("base_model_name_or_path", "revision")


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


def continued(directory: Path) -> bool:
    """Return whether the directory has an adapter in PEFT's format, which further training continues."""
    return parent(directory) is not None and method(directory) not in (DELTA, BOTTLENECK)


def tuning(directory: Path) -> TuningConfig:
    """Return the method of an adapter in PEFT's format, and its options other than PEFT's defaults."""
    config = peft.PeftConfig.from_pretrained(directory)
    defaults, common = type(config)(), {field.name for field in fields(peft.PeftConfig)}
    given = {name: value for name, value in config.to_dict().items() if name not in common}
    options = {name: value for name, value in given.items() if value != getattr(defaults, name)}
    return TuningConfig(method=method(directory).lower(), options=options)


def can_merge(directory: Path) -> bool:
    """Return whether the adapter is an update of the model's own parameters."""
    return method(directory).lower() not in UNMERGEABLE


def merged_and_beside(directory: Path) -> tuple[Path, list[Path]]:
    """Return the directory of the model that can be merged into a whole one, and the adapters upon it, lowest first.

    These are the lowest adapter that cannot be merged and all above it; none if all can be, as of a whole model.

    Raises:
        UserError: an adapter was trained on other weights than its base model has now.
    """
    root, above = lineage(directory)
    fixed = next((place for place, each in enumerate(above) if not can_merge(each)), len(above))
    return [root, *above][fixed], above[fixed:]


def check(directory: Path, root: Path) -> None:
    """Check an adapter that is to be applied to the whole model in `root`.

    Raises:
        UserError: its initialisation changed the weights of the model below it, as PiSSA does in PEFT, or it changes
            the output layer, which is stored only as the embeddings.
    """
    start = settings(directory).get("init_lora_weights")
    if start not in (None, *PLAIN_INITS):
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


def quantization(adapters: Sequence[Path]) -> Quantization:
    """Return the quantization of the whole model while the last of its `adapters` was trained."""
    return cast(Quantization, _base(adapters[-1]).get("quantization", "none")) if adapters else "none"


def record_base(directory: Path, kind: Quantization) -> None:
    """Store the hash and the quantization of the model below a saved adapter."""
    below = parent(directory)
    assert below is not None, "an adapter's configuration names its base model"
    record = {"quantization": kind, "sha256": identity(below)}
    (directory / BASE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def move_base(directory: Path, below: Path) -> None:
    """Name another directory with the base model of an adapter, whose hash is then not known."""
    artifacts.write_json(directory / CONFIG, settings(directory) | {"base_model_name_or_path": str(below)})
    artifacts.write_json(directory / BASE, {"quantization": quantization([directory])})


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
