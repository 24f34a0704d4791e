"""Device memory of training, estimated from a model's configuration before any weights are loaded.

Parameters are counted on the meta device. Activations are what autograd saves in a forward pass over fake tensors,
which have shapes and dtypes but no storage: this works for any architecture, whereas a formula is for one. It takes
three seconds for 8B parameters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import peft
import torch
from torch._subclasses import fake_tensor
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from pipelines.models.config import Quantization
from pipelines.models.head import chunk_tokens
from pipelines.models.tuning.apply import apply, without_input_casts
from pipelines.models.tuning.config import TuningConfig

GIB = 2**30
OPTIMIZERS: Mapping[str, float] = {"adamw": 8.0, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "adafactor": 0.01}
"""Bytes of optimiser state per trainable parameter; two moments in float32, or in 8 bits with a scale per block."""
QUANTIZED: Mapping[str, float] = {"nf4": 0.5 + (1 + 4 / 256) / 64, "int8": 1.0}
"""Bytes per weight. NF4 (Dettmers et al. 2023, arXiv:2305.14314) has an 8-bit scale per 64 weights, and one in float32
per 256 of those."""
MASTER = 4
"""Bytes of a trainable parameter and of its gradient: float32, whatever the precision of the products."""
GATHERED = 3
"""Copies of a layer in the precision of products, when layers are sharded: its weights, those of the next layer, which
is gathered in advance, and its gradient, which also exists in float32 while it is added."""
LOGIT = 8
"""Bytes per logit of cross entropy: logits and log-probabilities in float32; their gradient takes the place of one."""
DIVERGENCE = 20
"""Bytes per logit of the KL divergence from the base model in rehearsed rows (measured)."""
WIDEST = 2
"""Gradients of the size of the largest activation that the backward pass holds at once (measured on a gated MLP)."""
WORKSPACES = GIB // 8
"""Workspaces of cuBLAS and small buffers; the CUDA context itself is not in the free memory that a device reports."""
FRAGMENTATION = 0.05
"""Memory that the caching allocator cannot use, as a share of the tensors that every step allocates anew."""
_MASKLESS = "maskless_sdpa"
_UNTRACEABLE = (RuntimeError, AssertionError)
"""Errors of fake tensors: of shapes that depend on values, of an operator without a fake implementation or one that
autocast does not know, and of tensors that are not registered as buffers, as in FourierFT."""

AttentionInterface.register(_MASKLESS, sdpa_attention_forward)  # while tracing, sdpa materialises a mask that training
# does not have; a name without a mask function gets none


@dataclass(frozen=True)
class Training:
    """What determines the memory of training, besides the model."""

    tuning: TuningConfig
    quantization: Quantization
    dtype: torch.dtype
    """Dtype of frozen weights and of matrix products."""
    rows: int
    """Rows of one forward pass (a micro-batch)."""
    length: int
    """Tokens of a row, with padding."""
    predicted: int
    """Labelled tokens of a micro-batch; logits are in memory of at most `head.chunk_tokens` of them at once."""
    rehearsed: int = 0
    """Those of them whose divergence from the base model is computed."""
    optimizer: str = "adamw"
    """A key of `OPTIMIZERS`."""
    checkpointing: bool = False
    """Whether only the inputs of layers are kept, and the rest is recomputed (Chen et al. 2016, arXiv:1604.06174)."""
    shards: int = 1
    """Processes over which the layers are sharded (`pipelines/models/parallel/sharding.py`)."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Eager also for `sdpa` in an architecture without it, such as Gemma 2 or gpt-oss."""


@dataclass(frozen=True)
class Traced:
    """What a model contributes to memory. Activations are of one row; they grow in proportion to the rows."""

    matrices: int
    """Frozen parameters of linear layers, which quantisation applies to."""
    others: int
    """Other frozen parameters: embeddings, output layer, norms."""
    trainable: int
    shardable: int
    """Trainable parameters in decoder layers, which can be sharded."""
    largest_matrix: int
    """Parameters of the largest quantisable matrix."""
    layers: int
    width: int
    vocabulary: int
    saved: int
    """Bytes that autograd saves of one row in a forward pass, without the output layer."""
    casts: int
    """Bytes that it saves of any number of rows: trained weights in the precision of products."""
    largest_saved: int
    """Bytes of the largest of those tensors."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part at the peak of a training step. `str` gives a table."""

    weights: int = field(metadata={"label": "frozen weights"})
    unquantized: int = field(metadata={"label": "embeddings, output layer and norms"})
    trainable: int = field(metadata={"label": "trainable parameters"})
    gradients: int = field(metadata={"label": "gradients"})
    optimizer: int = field(metadata={"label": "optimizer state"})
    gathered: int = field(metadata={"label": "gathered layers"})
    activations: int = field(metadata={"label": "activations"})
    backward: int = field(metadata={"label": "logits or gradients of a layer"})
    """The backward pass begins with the logits and their gradients, which are freed before those of the layers."""
    dequantization: int = field(metadata={"label": "dequantization buffer"})
    overhead: int = field(metadata={"label": "workspaces and fragmentation"})

    @property
    def total(self) -> int:
        """Return the sum of all parts in bytes."""
        return sum(getattr(self, part.name) for part in fields(self))

    def __str__(self) -> str:
        """Return one line per part and the total, in GiB, or in MiB for a small model."""
        parts = [(part.metadata["label"], getattr(self, part.name)) for part in fields(self)]
        lines = [*((label, size) for label, size in parts if size), ("total", self.total)]
        name, unit = ("GiB", GIB) if self.total >= GIB else ("MiB", 2**20)
        return "\n".join(f"{label:<36}{size / unit:8.2f} {name}" for label, size in lines)


def trace(config: PreTrainedConfig, training: Training) -> Traced | None:
    """Count the parameters of a model and the activations of one row of `training.length` tokens.

    Returns None for what cannot be traced: a model whose shapes depend on its values (some mixtures of experts), a
    method that reads values of its tensors (BOFT, LoHa, SHiRA), and virtual tokens, which need a loaded model.
    """
    with torch.device("meta"):
        chosen = "eager" if training.attention == "eager" else None  # sdpa, if the architecture has it
        model: Any = AutoModelForCausalLM.from_config(config, dtype=training.dtype, attn_implementation=chosen)
        if model.config._attn_implementation == "sdpa":
            model.set_attn_implementation(_MASKLESS)
        head = model.get_output_embeddings()
        linear = [each for each in model.modules() if isinstance(each, (torch.nn.Linear, Conv1D)) and each is not head]
        sizes = [each.weight.numel() for each in linear]
        try:
            model = apply(model, training.tuning)
        except RuntimeError:  # no data on the meta device
            return None
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = sum(each.numel() for each in model.parameters() if not each.requires_grad)
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    shardable = sum(each.numel() for layer in layers for each in layer.parameters() if each.requires_grad)
    matrices = min(frozen, sum(sizes))  # of full fine-tuning none
    try:
        saved = saved_by_forward(model, training)
        two = sum(saved_by_forward(model, training, rows=2)) if training.tuning.selects else 2 * sum(saved)
    except _UNTRACEABLE:
        return None
    if not saved:
        return None
    shape = config.get_text_config()
    return Traced(
        matrices=matrices,
        others=frozen - matrices,
        trainable=trainable,
        shardable=shardable,
        largest_matrix=max(sizes, default=0),
        layers=shape.num_hidden_layers,
        width=shape.hidden_size,
        vocabulary=shape.vocab_size,
        saved=two - sum(saved),
        casts=2 * sum(saved) - two,
        largest_saved=max(saved),
    )


def saved_by_forward(model: Any, training: Training, rows: int = 1) -> list[int]:
    """Return the bytes of every storage that autograd saves while the decoder reads `rows` rows, without parameters.

    `model` is on the meta device; its parameters are replaced by fake tensors of the CPU, where autocast works. Those
    of sharded layers are gathered in the precision of products.
    """
    decoder = (model.get_base_model() if isinstance(model, peft.PeftModel) else model).get_decoder().train()
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    half = training.dtype == torch.bfloat16
    gathered = training.dtype if training.shards > 1 else None
    with fake_tensor.FakeTensorMode():
        state = {
            name: torch.empty(each.shape, dtype=gathered or each.dtype, requires_grad=each.requires_grad)
            for name, each in (*decoder.named_parameters(), *decoder.named_buffers())
        }
        own = {each.untyped_storage()._cdata for each in state.values()}
        ids = torch.zeros(rows, training.length, dtype=torch.long)
        with (
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            without_input_casts(model),
        ):
            torch.func.functional_call(decoder, state, (), {"input_ids": ids, "use_cache": False})
        return [each.untyped_storage().nbytes() for storage, each in saved.items() if storage not in own]


def estimate(traced: Traced, training: Training) -> Estimate:
    """Return the memory of a training step whose rows are as long as the traced one."""
    bytes_each = QUANTIZED.get(training.quantization, training.dtype.itemsize)
    activations = traced.saved * training.rows + traced.casts
    if training.checkpointing:
        inputs = training.rows * training.length * traced.width * training.dtype.itemsize
        activations = inputs * traced.layers + activations // traced.layers
    trainable = traced.trainable - traced.shardable + traced.shardable // training.shards
    layer = traced.shardable // traced.layers if training.shards > 1 else 0
    head = traced.vocabulary * traced.width if training.tuning.selects and training.rehearsed else 0  # the base model's
    parts = {
        "weights": int(traced.matrices * bytes_each) + head * training.dtype.itemsize,
        "unquantized": traced.others * training.dtype.itemsize,
        "trainable": trainable * MASTER,
        "gradients": trainable * MASTER,
        "optimizer": int(trainable * OPTIMIZERS[training.optimizer]),
        "gathered": layer * (GATHERED * training.dtype.itemsize + MASTER),
        "activations": activations,
        "backward": max(_output_layer(traced, training), WIDEST * traced.largest_saved * training.rows),
        "dequantization": traced.largest_matrix * training.dtype.itemsize if training.quantization != "none" else 0,
    }
    fleeting = sum(parts[name] for name in ("activations", "backward", "dequantization", "gathered"))
    return Estimate(**parts, overhead=WORKSPACES + int(FRAGMENTATION * fleeting))


def _output_layer(traced: Traced, training: Training) -> int:
    """Return the bytes of the logits, and of what their losses compute from them, of one chunk of tokens."""
    chunk = chunk_tokens(traced.vocabulary)
    learnt, rehearsed = min(training.predicted - training.rehearsed, chunk), min(training.rehearsed, chunk)
    return traced.vocabulary * max(LOGIT * learnt, DIVERGENCE * rehearsed)


def first_fit(traced: Traced, options: Iterable[tuple[str, Training]], free: int) -> str | None:
    """Return the first option that fits in `free` bytes, such as `training.micro_batch_tokens 2048 needs 17.3 GiB`."""
    for name, training in options:
        needed = estimate(traced, training).total
        if needed <= free:
            return f"{name} needs {needed / GIB:.1f} GiB"
    return None
