"""Checks of where a training runs: the device's quantisation, optimizer, memory and disk, and the model's positions."""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, DynamicCache, PreTrainedConfig

from pipelines.models import adapters, devices, memory, quantization, weights
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.memory import MASTER, OPTIMIZERS
from pipelines.models.tuning import peft_methods
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training import optimizers
from pipelines.training.checkpoints import KEPT
from pipelines.training.config import PretrainConfig, SFTConfig, TrainingConfig
from pipelines.training.examples import Example
from pipelines.training.preflight.memory import SHORTER, Item, check_memory, largest
from pipelines.training.preflight.method import check_method


def check_training(
    what: str,
    start: Path,
    rows: Sequence[Example],
    plan: Sequence[Sequence[int]],
    config: SFTConfig | PretrainConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    out: Path,
) -> TrainingConfig:
    """Check the method of `pretrain` or `sft`, and the machine, as `check_machine` does.

    Raises:
        UserError: as `check_machine`; or the method does not suit the stage or sharding, or the model in `start`
            stores its weights in a form that the method cannot change.
    """
    check_method(what, start, config, training, base)
    return check_machine(what, start, [(row,) for row in rows], plan, config.tuning, training, compute, base, out)


def check_machine(
    what: str,
    start: Path,
    items: Sequence[Item],
    plan: Sequence[Sequence[int]],
    tuning: TuningConfig,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    out: Path,
) -> TrainingConfig:
    """Check that the training `what` of the whole model in `start` can run here, and print its memory by part.

    Returns `training`, with activation checkpointing if it is `auto` and memory is too small without.

    Raises:
        UserError: the device lacks the quantisation, the optimizer, the memory, or the disk `out` the space; the model
            lacks positions for the rows; or its layers cannot be recomputed.
    """
    where, precision = devices.device(compute), devices.dtype(compute)
    if tuning.virtual and training.checkpointing == "on":  # would add prefixes to the caches of the layers twice
        raise UserError(f"{what} trains {tuning.method}, which needs training.checkpointing: off.")
    quantization.check(base.quantization, where)
    optimizers.check(training.optimizer, where)
    if not plan:
        return training  # reported by the training
    architecture = AutoConfig.from_pretrained(start)
    _check_positions(what, items, tuning, architecture)
    _check_cache(what, tuning, architecture)
    wanted = largest(items, plan, tuning, training, base, where, precision)
    shape = memory.trace(architecture, wanted)
    if shape is None:
        say(f"{what}: the memory of this architecture and method cannot be estimated")
        return training
    may_recompute = training.checkpointing == "auto" and where.type == "cuda"
    recomputes = check_memory(what, shape, wanted, where, may_recompute, len(items[0]))
    merged = (shape.matrices + shape.others) * precision.itemsize if what == "pretrain" else 0
    saved = int((MASTER + OPTIMIZERS[training.optimizer]) * shape.trainable)
    written = KEPT + 1 + (training.patience is not None) + 2 * (training.schedule == "wsd")  # best, stable and its copy
    if not environment.rank():  # the others write nothing
        weights.require_space(out, written * saved + MASTER * shape.trainable + merged)
    return training.model_copy(update={"checkpointing": "on"}) if recomputes else training


def check_adapter(
    what: str,
    policy: Path,
    items: Sequence[Item],
    plan: Sequence[Sequence[int]],
    tuning: TuningConfig | None,
    training: TrainingConfig,
    compute: ComputeConfig,
    base: BaseModelConfig,
    out: Path,
) -> TrainingConfig:
    """Check the machine, as `check_machine` does, for further training of `policy`.

    Its adapter in PEFT's format is trained on; a policy without one gets an adapter configured by `tuning`.

    Raises:
        UserError: as `check_machine`.
    """
    root, above = adapters.lineage(policy)
    method = adapters.tuning(policy) if adapters.continued(policy) else tuning
    if method is None or method.selects:
        return training  # refused by preparation.adaptable
    stored = base.model_copy(update={"quantization": adapters.quantization(above)}) if above else base
    return check_machine(what, root, items, plan, method, training, compute, stored, out)


def _check_positions(what: str, items: Sequence[Item], tuning: TuningConfig, architecture: PreTrainedConfig) -> None:
    """Check that the model has a position for each token of a row, or of each text that is packed into it.

    Virtual tokens have the first positions.

    Raises:
        UserError: one is longer. Learned positions (GPT-2, OPT) end there, and rotary ones were not trained beyond.
    """
    positions = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    longest = max(1 + max(row.positions) if row.positions else len(row.ids) for item in items for row in item)
    virtual = peft_methods.configuration(tuning.method, tuning.options).num_virtual_tokens if tuning.virtual else 0
    if positions is not None and virtual + longest > positions:
        after = f" after {virtual} virtual tokens" if virtual else ""
        raise UserError(
            f"{what} has a row of {longest} tokens{after}, and the model has {positions} positions; {SHORTER[what]} "
            f"to at most {positions - virtual}."
        )


def _check_cache(what: str, tuning: TuningConfig, architecture: PreTrainedConfig) -> None:
    """Check that the model has keys and values in every layer, if a prefix is put before them.

    Raises:
        UserError: a layer has another state, as the convolutions of LFM2 have.
    """
    if tuning.method != "prefix_tuning":
        return
    if not all(hasattr(layer, "update") for layer in DynamicCache(config=architecture).layers):
        raise UserError(
            f"{what} trains prefix_tuning, and {architecture.model_type} has layers without keys and values; set its "
            "method to prompt_tuning or lora."
        )
