"""Interactive chat with one model, with the same encoding, decoding and stop tokens as in evaluation.

Reads a directory with weights (a whole model or an adapter) and one with a tokenizer; writes nothing. PEFT is imported
only for an adapter, since the import takes a second.
"""

import os

# Waiting threads must not spin: on a processor shared with other processes, a token took 1.9 s instead of 0.08 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.beam_search import Beams, search
from pipelines.inference.generation import respond
from pipelines.models import devices
from pipelines.models.chat import encode_prompt
from pipelines.models.config import ComputeConfig
from pipelines.models.messages import Message
from pipelines.models.templates.stops import answer_text, stop_ids

if TYPE_CHECKING:
    from pipelines.models.task_adapters.held import HeldAdapters

ADAPTER = "adapter_config.json"


class ChatModel:
    """A model loaded once, that answers conversations."""

    def __init__(
        self, weights: Path, tokenizer: Path, compute: ComputeConfig, decoding: Mapping[str, Any] | None = None
    ) -> None:
        """Load the model; without `decoding` (`EvaluateConfig.decoding`) its stored generation config applies."""
        devices.prepare(compute)
        self._compute = compute
        self._held: HeldAdapters | None = None
        self.tok: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer, padding_side="left")
        self.model = _load(weights, compute)
        self.decoding = dict(decoding or _stored(weights))

    def switch(self, adapter: Path, decoding: Mapping[str, Any]) -> None:
        """Answer with the adapter in a directory from now on.

        The base model of LoRA adapters is loaded for the first of them, and then kept (`HeldAdapters`).

        Raises:
            UserError: the adapter was trained on other weights, or cannot be loaded.
        """
        from pipelines.models.task_adapters.held import HeldAdapters

        if self._held is None:
            self._held = HeldAdapters(self._compute)
        self.model = self._held.model(adapter)
        self.tok = AutoTokenizer.from_pretrained(adapter, padding_side="left")
        self.decoding = dict(decoding)

    def answer(self, messages: list[Message]) -> str:
        """Answer a conversation; the first turns are dropped when it exceeds the model's context."""
        limit, messages = self.decoding["max_new_tokens"], list(messages)
        room = self.model.config.get_text_config().max_position_embeddings - limit
        while len(ids := encode_prompt(self.tok, messages)) > room and len(messages) > 2:
            del messages[:2]
        beams, ends = Beams.of(self.decoding), stop_ids(self.model, self.tok)
        if beams.width > 1:
            ((_, tokens, _),) = search(self.model, self.tok, [ids], ends, limit, beams, batch_size=1)
        else:
            ((_, tokens),) = respond(self.model, self.tok, [ids], ends, limit, None, batch_size=1)
        return answer_text(self.tok, tokens)


def _load(weights: Path, compute: ComputeConfig) -> PreTrainedModel:
    if (weights / ADAPTER).exists():
        from pipelines.models import loading

        return loading.load(weights, compute)
    dtype = devices.dtype(compute)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=dtype, use_safetensors=True)
    ready: PreTrainedModel = model.to(devices.device(compute)).eval()
    return ready


def _stored(weights: Path) -> dict[str, Any]:
    """Return the generation config of a version that was registered without `registry.DECODING`."""
    if (weights / ADAPTER).exists():
        weights = weights.parent / "model"
    stored: dict[str, Any] = GenerationConfig.from_pretrained(weights).to_diff_dict()
    return stored
