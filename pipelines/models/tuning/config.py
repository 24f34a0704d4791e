"""The block `tuning`: one method of fine-tuning and its options.

Methods of PEFT have PEFT's own names and options. The others (`OWN`) have a block here. PEFT takes seconds to import,
so the options of plain LoRA are checked without it.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.block import Block, Count, Positive, Share
from pipelines.runtime.errors import UserError

REFUSED = {
    "adaption_prompt": "it replaces the attention of Llama's first release only",
    "cartridge": "its prefix is distilled from a cache, which is another training",
    "cpt": "its loss needs token types that our rows do not have",
    "poly": "it routes between tasks, and a row names none",
    "said": "its random projection of all weights is not in PEFT; unilora and tinylora train one of LoRA's",
    "shadow": "its output replaces the model's own logits",
    "xlora": "it mixes trained adapters by a forward pass of its own; `combine` merges them by weights",
}
"""Methods of PEFT and of papers that cannot be trained here, and why."""
REFUSED_OPTIONS = {
    ("adalora", "r"): "its ranks are init_r and target_r: set these instead of r, such as to 48 and 32",
    ("lora", "alora_invocation_tokens"): "PEFT finds these tokens in its own forward pass, which is not run",
    ("lora", "arrow_config"): "it routes between trained adapters",
    ("lora", "kasa_config"): "it truncates the weights below the adapter",
    ("lora", "layer_replication"): "it adds layers to the model below the adapter",
    ("multitask_prompt_tuning", "num_tasks"): "rows name no task, so that there is one",
}
"""Options of PEFT's methods that would have no effect here or change the model below the adapter, and why."""
UNCOPIED = {
    "adalora": "PEFT trains only one such adapter in a model",
    "p_tuning": "PEFT does not copy the network that computes its tokens",
    "trainable_tokens": "PEFT does not switch between several such adapters",
}
"""Methods of whose adapter a model cannot carry copies, as online training needs for its reference, and why."""
_CONVERTED = ("adalora", "p_tuning")
"""Those whose adapter is saved as one of another method (pipelines/models/tuning/stored_form.py), which is copied."""
REPLACED_INITS = ("pissa", "olora", "loftq")
"""Values of `init_lora_weights` with which PEFT would change the weights below the adapter."""
EVA = "eva"
"""The value of `init_lora_weights` that initialises A from activations on training rows."""
VIRTUAL_TOKENS = ("prompt_tuning", "p_tuning", "prefix_tuning", "multitask_prompt_tuning")
"""Methods whose parameters are tokens or keys and values before the text."""
UNMERGEABLE = ("bottleneck", "lily", "beft", *VIRTUAL_TOKENS)
"""Methods whose update is not one of the model's own parameters: bottleneck adapters are not linear, Lily's factors are
chosen by the input, and the linear layers of recent models have no bias to add BEFT's to."""
UNSCALED = ("use_dora", "bias", "modules_to_save", "trainable_token_indices")
"""Options with which LoRA also trains parameters that its scale does not apply to."""
_LORA: dict[str, Any] = {
    "r": int,
    "lora_alpha": (int, float),
    "lora_dropout": (int, float),
    "use_rslora": bool,
    "use_dora": bool,
    "loraplus_lr_ratio": (int, float),
}
"""Options of LoRA that are checked without PEFT; `loraplus_lr_ratio` is not one of PEFT's configuration."""


class Options(BaseModel):
    """Options of a method that is not PEFT's. Unlike a block's, they have defaults: the fingerprint has these."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoOptions(Options):
    """A method without options."""


class LayersOptions(Options):
    """Training of whole decoder layers (and, by name, of any parameter)."""

    last: Count | None = None
    """Number of last decoder layers."""
    first: Annotated[int, Field(ge=0)] | None = None
    """Index of the first trained decoder layer; those below it stay frozen."""
    names: list[str] | None = None
    """Regular expressions that match the names of trained parameters."""
    gradual: Share = 0.0
    """Share of the steps over which the layers become trainable one by one, from the last to the first (ULMFiT, Howard
    and Ruder 2018, arXiv:1801.06146, section 3.3); 0 trains all from the first step."""

    @model_validator(mode="after")
    def _one_selection(self) -> "LayersOptions":
        if sum(value is not None for value in (self.last, self.first, self.names)) != 1:
            raise ValueError("set exactly one of last, first and names")
        if self.gradual and self.names is not None:
            raise ValueError("gradual unfreezing goes by decoder layer; set last or first instead of names")
        for pattern in self.names or []:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"names: {pattern!r} is not a regular expression: {error}") from error
        return self


class FisherOptions(Options):
    """FISH mask (Sung et al. 2021, arXiv:2111.09839): the parameters with the largest Fisher information."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """Share of the parameters that are trained."""
    rows: Count = 256
    """Training rows from which the diagonal of the empirical Fisher information matrix is estimated."""


class BottleneckOptions(Options):
    """Bottleneck adapters: down-projection, ReLU, up-projection, which begins at zero."""

    placement: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """`houlsby` is in series after attention and feed-forward (Houlsby et al. 2019, arXiv:1902.00751), `pfeiffer` only
    after the feed-forward (Pfeiffer et al. 2021, arXiv:2005.00247), `parallel` beside the feed-forward (He et al. 2022,
    arXiv:2110.04366)."""
    size: Count = 64
    """Width of the bottleneck."""
    scale: Positive = 1.0
    """Factor on the adapter's output; He et al. take 4 for `parallel`."""
    drop_first: Annotated[int, Field(ge=0)] = 0
    """Number of first layers without an adapter (AdapterDrop, Rücklé et al. 2021, arXiv:2010.11918)."""


OWN: dict[str, type[Options]] = {
    "full": NoOptions,
    "layers": LayersOptions,
    "bias": NoOptions,
    "norms": NoOptions,
    "fisher": FisherOptions,
    "bottleneck": BottleneckOptions,
}
"""Methods that are not PEFT's. All but `bottleneck` train a selection of the model's own parameters."""


class TuningConfig(Block):
    """A method of fine-tuning; docs/tuning.md compares all."""

    method: str
    """`full`, `layers`, `bias`, `norms`, `fisher`, `bottleneck`, or a method of PEFT in lower case, such as `lora`."""
    options: dict[str, Any]
    """Options by the names that PEFT gives them (`r`, `lora_alpha`, …); others have the default of the method."""

    @model_validator(mode="after")
    def _check(self) -> "TuningConfig":
        if self.method in OWN:
            try:
                OWN[self.method].model_validate(self.options)
            except ValidationError as error:
                raise ValueError(f"options of {self.method}: {_sentence(error)}") from error
        elif not isinstance(rank := self.options.get("r", 1), int) or rank < 1:
            raise ValueError(f"options of {self.method}: r is {rank!r}, and must be an integer of at least 1")
        elif self.method != "lora" or not all(
            name in _LORA and isinstance(value, _LORA[name]) and value >= 0 for name, value in self.options.items()
        ):
            from pipelines.models.tuning import peft_methods  # imports PEFT

            peft_methods.configuration(self.method, self.options)
        return self

    @property
    def peft(self) -> bool:
        """Whether the method is PEFT's, so that its adapter is continued by further training."""
        return self.method not in OWN

    @property
    def selects(self) -> bool:
        """Whether parameters of the model itself are trained, and none are added."""
        return self.method in OWN and self.method != "bottleneck"

    @property
    def by_rows(self) -> bool:
        """Whether training rows decide which parameters are trained: those of a mask, or the ranks of EVA."""
        return self.method == "fisher" or self.options.get("init_lora_weights") == EVA

    @property
    def mergeable(self) -> bool:
        """Whether what is trained can be merged into the model's own parameters."""
        return self.method not in UNMERGEABLE

    @property
    def virtual(self) -> bool:
        """Whether the method adds tokens before the text."""
        return self.method in VIRTUAL_TOKENS

    @property
    def replaced_init(self) -> str | None:
        """The initialisation from the weights, such as `pissa_niter_16`; None for one that leaves them as they are."""
        start = self.options.get("init_lora_weights")
        return start if isinstance(start, str) and start.startswith(REPLACED_INITS) else None

    @property
    def scalable(self) -> bool:
        """Whether the learnt update can be multiplied by a factor after training.

        LoRA's scale does not apply to magnitudes (DoRA), biases, and whole modules or tokens trained beside it.
        """
        others = any(value and value != "none" for value in map(self.options.get, UNSCALED))
        plain = self.method in ("lora", "adalora") and not others and self.replaced_init in (None, "loftq")
        return self.selects or plain

    def check_init(self, quantization: str, device: str) -> None:
        """Check that the adapter can be initialised from weights with this `quantization` on this type of `device`.

        Raises:
            UserError: it cannot.
        """
        start = self.replaced_init
        if start == "loftq" and quantization != "nf4":
            raise UserError("init_lora_weights is loftq, which needs base.quantization: nf4.")
        if start == "loftq" and device != "cuda":
            raise UserError("init_lora_weights is loftq, which PEFT computes only on a GPU; set it to true.")
        if start not in (None, "loftq") and quantization != "none":
            raise UserError(
                f"init_lora_weights is {start}, which needs base.quantization: none; set it to loftq or true."
            )

    def check_new_adapter(self) -> None:
        """Check that a stage other than `sft` and `pretrain` can train the method as a new adapter.

        Raises:
            ValueError: it adds no adapter, or initialises one from training rows.
        """
        if self.selects:
            raise ValueError(f"tuning.method is {self.method}, which adds no adapter; set it to lora")
        if self.by_rows:
            raise ValueError("tuning has init_lora_weights eva, which only sft and pretrain apply; set it to true")

    def check_copies(self, what: str, parameter: str, saved: bool = False) -> None:
        """Check that the stage `what` can copy its adapter, new or `saved` by an earlier stage.

        `parameter` names the method in the message.

        Raises:
            UserError: it cannot.
        """
        reason = UNCOPIED.get(self.method)
        if reason and not (saved and self.method in _CONVERTED):
            raise UserError(
                f"{what} copies its adapter as a reference, and {parameter} is {self.method}: {reason}; set it to "
                "another method, such as lora."
            )


def _sentence(error: ValidationError) -> str:
    parts = [(".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")) for each in error.errors()]
    return "; ".join(f"{where}: {message}" if where else message for where, message in parts)
