"""A base model in memory with several LoRA adapters beside it, of which one computes at a time."""

from pathlib import Path

import peft
from transformers import PreTrainedModel

from pipelines.models import adapters, loading
from pipelines.models.config import ComputeConfig, Quantization
from pipelines.models.devices import device, dtype


class HeldAdapters:
    """The base model of the adapter used last, with those LoRA adapters on it that were used since it was loaded."""

    def __init__(self, compute: ComputeConfig) -> None:
        """Load nothing yet."""
        self._compute = compute
        self._adapted: peft.PeftModel | None = None
        self._base: tuple[Path, Quantization] | None = None

    def model(self, directory: Path) -> PreTrainedModel:
        """Return the model in eval mode with the adapter in `directory`, which computes as that of `loading.load`.

        LoRA on a whole model is not merged, and is loaded beside the base model in memory, which is reloaded only for
        another one or another quantization. Adapters of other methods have models of their own (`loading.load`).

        Raises:
            UserError: the adapter was trained on other weights, or cannot be applied to the model.
        """
        root, above = adapters.lineage(directory)
        if len(above) != 1 or adapters.method(directory) != adapters.LORA:
            self._adapted = self._base = None
            return loading.load(directory, self._compute)
        adapters.check(directory, root)
        wanted = root, adapters.quantization(above)
        if self._base != wanted:
            self._adapted = None
        name = f"task_{directory.name}"  # PEFT confuses a name such as "lora" with its parameters
        options = {"autocast_adapter_dtype": False, "device_map": {"": str(device(self._compute))}}
        if self._adapted is None:
            model = loading.whole(root, self._compute, wanted[1])
            self._adapted = peft.PeftModel.from_pretrained(model, directory, adapter_name=name, **options)
            self._base = wanted
        elif name not in self._adapted.peft_config:
            self._adapted.load_adapter(directory, adapter_name=name, **options)
        self._adapted.set_adapter(name, inference_mode=True)
        for key, value in self._adapted.named_parameters():
            if "lora_" in key:
                value.data = value.data.to(dtype(self._compute))
        ready: PreTrainedModel = self._adapted.get_base_model().eval()
        return ready
