"""One frozen model that carries several adapters: policy, reference, value and reward.

Only `using` switches adapters. PEFT's `set_adapter` also sets which parameters are trainable, so that a switch
between forward and backward silently leaves the policy without gradients and makes the reference trainable;
here `train_only` sets it once, and a switch never changes it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from pipelines.alignment.sequences import Batch
from pipelines.models import devices
from pipelines.models.config import ComputeConfig
from pipelines.models.head import Head, hidden_states
from pipelines.models.tuning.apply import parts, without_input_casts

POLICY = "default"  # the adapter name that saving.save_adapter expects
REFERENCE, VALUE, REWARD = "reference", "value", "reward"


@contextmanager
def using(model: PeftModel, name: str) -> Iterator[None]:
    """Activate the adapter `name` inside the block; `requires_grad` of all parameters is unchanged."""
    before = model.active_adapter
    _activate(model, name)
    try:
        yield
    finally:
        _activate(model, before)


def _activate(model: PeftModel, name: str) -> None:
    """Activate `name`, unless it is already: a switch visits every adapter of every layer.

    It takes 60 ms for four adapters on 30 layers, and in inference mode only switches `requires_grad` off.
    """
    names = parts(model, name)
    if model.active_adapters == names:
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.set_adapter(name, inference_mode=True)
    if len(names) > 1:
        model.base_model.set_adapter(names, inference_mode=True)
    for parameter in trained:
        parameter.requires_grad_(True)


def named_weights(model: PeftModel, name: str) -> dict[str, nn.Parameter]:
    """Return the weights of the adapter `name`, active or not."""
    prefix = "prompt_encoder" if model.peft_config[name].is_prompt_learning else rf"\.{model.base_model.prefix}\w*"
    belongs = re.compile(rf"{prefix}\.{name}(\.|$)")  # a module of the model may also be called "value"
    return {key: parameter for key, parameter in model.named_parameters() if belongs.search(key)}


def named_head(head: nn.Linear) -> dict[str, nn.Parameter]:
    """Return the weights of `head`, with names that do not collide with those of adapters."""
    return {f"head.{key}": parameter for key, parameter in head.named_parameters()}


def train_only(model: PeftModel, names: list[str]) -> None:
    """Make only the adapters `names` trainable, in eval mode: dropout would make log-probabilities irreproducible."""
    model.eval()
    model.requires_grad_(False)
    for name in names:
        for parameter in named_weights(model, name).values():
            parameter.requires_grad_(True)


def clone(model: PeftModel, source: str, target: str) -> None:
    """Add the adapter `target`, an independent copy of `source`."""
    weights = {key: value.clone() for key, value in get_peft_model_state_dict(model, adapter_name=source).items()}
    model.add_adapter(target, model.peft_config[source])
    set_peft_model_state_dict(model, weights, adapter_name=target)


def scalar_head(model: PeftModel) -> nn.Linear:
    """Return a float32 head from hidden state to a scalar, initialised to zero, so that all scores start equal."""
    head = nn.Linear(model.get_base_model().config.get_text_config().hidden_size, 1).to(model.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def scalars(head: nn.Linear, states: Tensor) -> Tensor:
    """Return the outputs [N] of `head` for `states` [N, H] in float32, also inside autocast, which casts inputs back.

    bf16 has 8 bits: the scores of similar answers would be equal.
    """
    with torch.autocast(states.device.type, enabled=False):
        outputs: Tensor = head(states.float()).squeeze(-1)
    return outputs


@dataclass(frozen=True)
class Backbone:
    """Computes log-probabilities, values and scores with the adapters of `model`. Call the methods inside `using`."""

    model: PeftModel
    tok: PreTrainedTokenizerBase
    compute: ComputeConfig

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = self.model.device
        return device

    def hidden(self, batch: Batch) -> Tensor:
        """Return the last hidden states [B, L, H], without the cost of the output layer.

        Autocast casts the adapters' inputs; PEFT's casts to float32 are disabled.
        """
        with devices.autocast(self.compute, self.device), without_input_casts(self.model):
            return hidden_states(self.model, batch.ids)

    def policy(self, batch: Batch, temperature: float, with_entropy: bool = False) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies [B, T] of the response's tokens; zero in the padding.

        Entropies are computed only on request, and then without gradients.
        The output layer runs on the response's tokens only; it can cost as much as all other layers.
        """
        states = self._gather(self.hidden(batch), batch)[batch.mask]
        head = Head.of(self.model)
        with devices.autocast(self.compute, self.device):
            if with_entropy:
                logs, spread = head.logprobs_and_entropy(states, batch.responses[batch.mask], temperature)
            else:
                logs = head.logprobs(states, batch.responses[batch.mask], temperature)
                spread = torch.zeros_like(logs)
        return _scatter(logs, batch.mask), _scatter(spread, batch.mask)

    def values(self, batch: Batch, head: nn.Linear) -> Tensor:
        """Return the values [B, T] that `head` predicts from the state before each response token; zero in padding."""
        states = self._gather(self.hidden(batch), batch)[batch.mask]
        return _scatter(scalars(head, states), batch.mask)

    def scores(self, batch: Batch, head: nn.Linear) -> Tensor:
        """Return the score [B] that `head` assigns to the last token of the response, its end of turn."""
        rows = torch.arange(len(batch.starts), device=batch.ids.device)
        return scalars(head, self.hidden(batch)[rows, batch.starts + batch.last])

    def _gather(self, states: Tensor, batch: Batch) -> Tensor:
        index = batch.before()[..., None].expand(-1, -1, states.shape[-1])
        return states.gather(1, index)


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Put `values` [N] back where `mask` [B, T] is true, zero elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
