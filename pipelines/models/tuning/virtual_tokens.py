"""Virtual tokens before the text (prompt and prefix tuning), in the decoder itself.

PEFT adds them in its own forward, but losses and decoding call the decoder, to compute logits only where they are
needed. So the decoder gets them: prompt tuning (Lester et al. 2021, arXiv:2104.08691) and P-tuning (Liu et al. 2021,
arXiv:2103.10385) prepend embeddings, prefix tuning (Li and Liang 2021, arXiv:2101.00190; P-tuning v2, Liu et al. 2022,
arXiv:2110.07602) prepends keys and values of every layer. Hidden states are returned of the text only. With a key-value
cache, the virtual tokens are at its start, and masks and positions of later calls are shifted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
import torch
from torch import Tensor
from transformers import DynamicCache


class VirtualTokens:
    """The forward pass of a decoder with virtual tokens; the attribute `forward` of the decoder."""

    def __init__(self, model: peft.PeftModel) -> None:
        """Replace the forward pass of the decoder of `model`."""
        self.model, self.enabled = model, True
        self.decoder = model.get_base_model().get_decoder()
        self.own = self.decoder.forward
        self.decoder.forward = self

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        **arguments: Any,
    ) -> Any:
        """Return the decoder's output for `input_ids` [B, L], whose hidden states are [B, L, H].

        Without `position_ids`, the text begins here: with a cache that has tokens, positions must be given.
        """
        arguments.pop("inputs_embeds", None)  # the causal model passes on its own, None
        if not self.enabled:
            return self.own(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                **arguments,
            )
        config = self.model.active_peft_config
        virtual, (rows, length) = config.num_virtual_tokens, input_ids.shape
        begun = past_key_values is not None and past_key_values.get_seq_length() > 0
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask.new_ones(rows, virtual), attention_mask], dim=1)
        if position_ids is None:
            position_ids = torch.arange(length, device=input_ids.device).expand(rows, -1)
        given: dict[str, Any] = {"input_ids": input_ids}
        places = position_ids + virtual
        if not begun and config.peft_type == peft.PeftType.PREFIX_TUNING:
            past_key_values = self._prefix(rows, past_key_values)
        elif not begun:
            embeddings = self.decoder.get_input_embeddings()(input_ids)
            given = {"inputs_embeds": torch.cat([self._prompt(rows).to(embeddings.dtype), embeddings], dim=1)}
            before = torch.arange(virtual, device=input_ids.device).expand(rows, -1)
            places = torch.cat([before, places], dim=1)
        output = self.own(
            **given, attention_mask=attention_mask, position_ids=places, past_key_values=past_key_values, **arguments
        )
        output.last_hidden_state = output.last_hidden_state[:, -length:]
        return output

    def _prompt(self, rows: int) -> Tensor:
        """Return the embeddings [B, V, H] of the virtual tokens."""
        tasks = torch.zeros(rows, dtype=torch.long, device=self.model.device)  # of multitask prompt tuning: one
        prompt: Tensor = self.model.get_prompt(rows, task_ids=tasks)
        return prompt

    def _prefix(self, rows: int, cache: DynamicCache | None) -> DynamicCache:
        """Return `cache`, or a new one, with the keys and values of the virtual tokens."""
        cache = DynamicCache(config=self.model.config) if cache is None else cache
        for index, layer in enumerate(self.model.get_prompt(rows).layers):
            cache.update(layer.keys, layer.values, index)
        return cache


def of(model: Any) -> VirtualTokens | None:
    """Return the virtual tokens of a model, PEFT's or the one that carries them; None if it has none."""
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    forward = base.get_decoder().forward
    return forward if isinstance(forward, VirtualTokens) else None


@contextmanager
def disabled(tokens: VirtualTokens) -> Iterator[None]:
    """Run the decoder without virtual tokens inside the block."""
    tokens.enabled = False
    try:
        yield
    finally:
        tokens.enabled = True
