"""Checks of what is trained: the method of fine-tuning, the parameters it changes, sharding and early stopping."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pipelines.models import weights
from pipelines.models.config import BaseModelConfig
from pipelines.models.tuning.apply import apply
from pipelines.runtime.errors import UserError
from pipelines.training.config import PretrainConfig, SFTConfig, TrainingConfig
from pipelines.training.examples import IGNORED, Example


def check_method(
    what: str, start: Path, config: SFTConfig | PretrainConfig, training: TrainingConfig, base: BaseModelConfig
) -> None:
    """Check that the method of fine-tuning suits the stage `what`, sharding, and the stored weights of `start`.

    Raises:
        UserError: it does not.
    """
    _check_stage(what, config, training)
    _check_sharding(what, config, training, base)
    _check_names(what, start, config)


def _check_stage(what: str, config: SFTConfig | PretrainConfig, training: TrainingConfig) -> None:
    """Check that the method of fine-tuning suits the stage.

    Raises:
        UserError: `pretrain` could not merge it, or weight decay would change parameters that a mask leaves out.
    """
    method = config.tuning.method
    if isinstance(config, PretrainConfig) and not config.tuning.mergeable:
        raise UserError(f"{what}.tuning.method is {method}, which cannot be merged into the weights; set it to lora.")
    if method == "fisher" and training.weight_decay:
        raise UserError(f"{what}.tuning.method is fisher, which needs training.weight_decay: 0.")


def _check_sharding(
    what: str, config: SFTConfig | PretrainConfig, training: TrainingConfig, base: BaseModelConfig
) -> None:
    """Check that a model can be sharded, if it is to be.

    Raises:
        UserError: it is quantised, not all its weights are trained, or the optimizer takes no shards.
    """
    if not training.sharded:
        return
    needed = {
        f"{what}.tuning.method": (config.tuning.method, "full"),
        "base.quantization": (base.quantization, "none"),
        "training.optimizer": (training.optimizer, "adamw"),
    }
    for name, (value, only) in needed.items():
        if value != only:
            raise UserError(
                f"training.sharded needs {name}: {only}, and it is {value}; change it, or set training.sharded to "
                "false (an adapter on NF4 weights needs a tenth of the memory of all weights)."
            )


def _check_names(what: str, start: Path, config: SFTConfig | PretrainConfig) -> None:
    """Check that the model in `start` stores the trained parameters under their names, if the result depends on them.

    A delta is applied to stored weights, and `adapter_scale` interpolates with them.

    Raises:
        UserError: it stores them otherwise, as a mixture of experts does, whose experts are stacked when it is loaded.
    """
    if not config.tuning.selects:
        return
    with torch.device("meta"):
        model = apply(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(start)), config.tuning)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    whole = len(trained) == sum(1 for _ in model.parameters())
    missing = sorted(trained - weights.names(start))
    if missing and not (whole and (isinstance(config, PretrainConfig) or config.adapter_scale == 1)):
        raise UserError(
            f"{what}.tuning.method {config.tuning.method} trains {missing[0]}, which the model in {start} stores under "
            "another name; use full with adapter_scale 1, or lora."
        )


def check_patience(training: TrainingConfig, validation: Sequence[Example], source: Path, share: str) -> None:
    """Check that early stopping has `validation` rows, which come from `source`; the parameter `share` is their number.

    Raises:
        UserError: it has none.
    """
    if training.patience is not None and not any(label != IGNORED for row in validation for label in row.labels[1:]):
        raise UserError(
            f"training.patience is {training.patience}, and {source} has no row to validate on; raise {share}, or set "
            "training.patience to null."
        )
