"""A conversation with one model, which answers as it is evaluated: same encoding, same search, same end.

Reads a directory with weights (whole, or an adapter) and one with a tokenizer; writes nothing. PEFT is imported for an
adapter only: it takes a second.
"""

import os

# A thread that waits for another one must not spin: on a processor that others use too, a token took 1.9 s, not 0.08.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference.beam_search import search
from pipelines.inference.generation import respond
from pipelines.models import devices
from pipelines.models.chat import encode_prompt
from pipelines.models.config import ComputeConfig
from pipelines.models.messages import Message

ADAPTER = "adapter_config.json"


class ChatModel:
    """A model that is loaded once, and answers conversations."""

    def __init__(
        self, weights: Path, tokenizer: Path, compute: ComputeConfig, decoding: Mapping[str, Any] | None = None
    ) -> None:
        """Load it; without `decoding` (`EvaluateConfig.decoding`) it answers as its generation config says."""
        devices.prepare(compute)
        self.tok: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer, padding_side="left")
        self.model = _load(weights, compute)
        self.decoding = dict(decoding or _stored(weights))

    def answer(self, messages: list[Message]) -> str:
        """Return the answer to a conversation; where it is too long for the model, without its first turns."""
        limit, messages = self.decoding["max_new_tokens"], list(messages)
        room = self.model.config.max_position_embeddings - limit
        while len(ids := encode_prompt(self.tok, messages)) > room and len(messages) > 2:
            del messages[:2]
        beams, ends = self.decoding.get("num_beams", 1), [self.tok.eos_token_id]
        if beams > 1:
            penalty = self.decoding["length_penalty"]
            found = search(self.model, self.tok, [ids], ends, limit, beams, penalty, batch_size=1)
        else:
            found = respond(self.model, self.tok, [ids], ends, limit, None, batch_size=1)
        ((_, tokens),) = found
        said: str = self.tok.decode(tokens, skip_special_tokens=True)
        return said.strip()


def _load(weights: Path, compute: ComputeConfig) -> PreTrainedModel:
    if (weights / ADAPTER).exists():
        from pipelines.models import loading

        return loading.load(weights, compute)
    dtype = devices.dtype(compute)
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=dtype, use_safetensors=True)
    ready: PreTrainedModel = model.to(devices.device(compute)).eval()
    return ready


def _stored(weights: Path) -> dict[str, Any]:
    """Return the decoding that was registered with a version (`registry.register`)."""
    stored: dict[str, Any] = GenerationConfig.from_pretrained(weights).to_diff_dict()
    return stored
