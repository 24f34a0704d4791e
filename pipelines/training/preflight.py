"""Checks before the weights are loaded: method, quantisation, optimizer, positions, memory and disk. They take seconds;
training takes hours."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedConfig

from pipelines.models import adapters, devices, memory, quantization, weights
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.memory import GIB, MASTER, OPTIMIZERS, Traced, Training
from pipelines.models.tuning import peft_methods
from pipelines.models.tuning.apply import apply
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.training import optimizers
from pipelines.training.checkpoints import KEPT
from pipelines.training.config import PretrainConfig, SFTConfig, TrainingConfig
from pipelines.training.examples import IGNORED, Example, fill
from pipelines.training.step import micro_batch_tokens, share

Item = tuple[Example, ...]
"""What a plan names by an index: a row, or the two rows of a preference pair, which go through the model together."""

_SHORTER = {
    "pretrain": "lower pretrain.block_tokens",
    "sft": "lower sft.max_tokens and sft.lm_tokens",
    "teacher": "shorten the passages in teacher.seeds",
    "reward": "lower pairs.max_tokens",
    "align.dpo": "lower pairs.max_tokens",
}
"""How the rows of each training become shorter, for error messages."""


def check(
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
    _check_method(what, config, training)
    _check_sharding(what, config, training, base)
    _check_names(what, start, config)
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


def _check_method(what: str, config: SFTConfig | PretrainConfig, training: TrainingConfig) -> None:
    """Check that the method of fine-tuning suits the stage.

    Raises:
        UserError: `pretrain` could not merge it, or weight decay would change parameters that a mask leaves out.
    """
    method = config.tuning.method
    if isinstance(config, PretrainConfig) and not config.tuning.mergeable:
        raise UserError(f"{what}.tuning.method is {method}, which cannot be merged into the weights; set it to lora.")
    if method == "fisher" and training.weight_decay:
        raise UserError(f"{what}.tuning.method is fisher, which needs training.weight_decay: 0.")


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
            f"{what} has a row of {longest} tokens{after}, and the model has {positions} positions; {_SHORTER[what]} "
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


def largest(
    items: Sequence[Item],
    plan: Sequence[Sequence[int]],
    tuning: TuningConfig,
    training: TrainingConfig,
    base: BaseModelConfig,
    where: torch.device,
    precision: torch.dtype,
) -> Training:
    """Return the training with the micro-batch that has the most tokens with padding, as the loop splits `plan`."""
    lengths = [max(len(row.ids) for row in item) for item in items]
    sizes = [len(item) * length for item, length in zip(items, lengths, strict=True)]
    learnt = [sum(label != IGNORED for row in item for label in row.labels[1:]) for item in items]
    budget = micro_batch_tokens(training, where, plan, sizes)
    parts = [part for step in plan for part in fill(share(step), sizes, budget)]
    part = max(parts, key=lambda each: len(each) * max(sizes[index] for index in each))
    return Training(
        tuning=tuning,
        quantization=base.quantization,
        dtype=precision,
        rows=sum(len(items[index]) for index in part),
        length=max(lengths[index] for index in part),
        predicted=max(sum(learnt[index] for index in each) for each in parts),
        rehearsed=max(sum(learnt[index] for index in each if items[index][0].rehearsed) for each in parts),
        optimizer=training.optimizer,
        checkpointing=training.checkpointing == "on",
        shards=training.shards if tuning.selects else 1,
        attention="eager" if where.type == "cpu" else "sdpa",
    )


def check_memory(
    what: str, shape: Traced, training: Training, where: torch.device, may_recompute: bool, together: int = 1
) -> bool:
    """Print the memory estimate, compare it with the free memory of the device, and return whether layers recompute.

    With `may_recompute`, activation checkpointing is switched on if memory is too small without. A micro-batch has at
    least `together` rows.

    Raises:
        UserError: the estimate is larger; the message names a change that fits.
    """
    needed, free = memory.estimate(shape, training), devices.available(where)
    if may_recompute and needed.total > free:
        training = replace(training, checkpointing=True)
        needed = memory.estimate(shape, training)
    how = ", with activation checkpointing" if training.checkpointing else ""
    say(f"{what}: estimated memory of {training.rows} rows of {training.length} tokens{how}\n{needed}")
    if needed.total <= free:
        return training.checkpointing
    way = memory.first_fit(shape, _smaller(training, where, together), free)
    fewer = "train an adapter (tuning.method lora)" if training.tuning.selects else "lower the rank of the adapter"
    other = f"{_SHORTER[what]}, {fewer}, or set a smaller base.model"
    raise UserError(
        f"{what} needs an estimated {needed.total / GIB:.1f} GiB of memory, and {where} has {free / GIB:.1f} GiB free; "
        f"{way or other}."
    )


def _smaller(training: Training, where: torch.device, together: int = 1) -> Iterator[tuple[str, Training]]:
    """Yield trainings that need less memory: first those with equal results, then 8-bit states, then NF4 weights.

    Smaller batches are not among them: their micro-batches can be as small without a change of the batch.
    """
    eight_bit = where.type == "cuda" and training.optimizer == "adamw"
    changes: list[dict[str, str]] = [{}]
    if eight_bit:
        changes.append({"optimizer": "paged_adamw_8bit"})
    if not training.tuning.selects and training.quantization != "nf4":  # else the weights themselves are trained
        changes += [{**change, "quantization": "nf4"} for change in changes]
    names = {"optimizer": "training.optimizer", "quantization": "base.quantization"}
    for change in changes:
        named = [f"{names[key]} {value}" for key, value in change.items()]
        for recompute in dict.fromkeys((training.checkpointing, True)):
            switched = [] if recompute == training.checkpointing else ["training.checkpointing on"]
            changed = replace(training, checkpointing=recompute, **change)  # type: ignore[arg-type]
            for tokens, smaller in _micro_batches(changed, together):
                split = [] if smaller == changed else [f"training.micro_batch_tokens {tokens}"]
                if parts := [*named, *switched, *split]:
                    yield " with ".join(parts), smaller


def _micro_batches(training: Training, together: int) -> Iterator[tuple[int, Training]]:
    """Yield `training` with micro-batches of its tokens, of half as many, and so on, down to `together` rows."""
    tokens, item = training.rows * training.length, together * training.length
    while tokens >= item:
        rows = tokens // item * together
        predicted, rehearsed = (-(-count * rows // training.rows) for count in (training.predicted, training.rehearsed))
        yield tokens, replace(training, rows=rows, predicted=predicted, rehearsed=rehearsed)
        tokens //= 2
