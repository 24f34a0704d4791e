"""The output layer: from hidden states to logits, log-probabilities and losses, as the model itself computes them.

Logits are as wide as the vocabulary, so they are computed only at the wanted positions and in chunks of tokens. The
loss of a token depends on its own hidden state alone; its gradient is computed together with the loss (as in Liger
Kernel, Hsu et al. 2024, arXiv:2410.10989), so that no chunk of logits outlives its loss and none is computed twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from pipelines.models.parallel import sharding
from pipelines.runtime.errors import UserError

CHUNK_BYTES = 2**28  # of float32 logits at once: 1,365 tokens for a vocabulary of 49,152
TOLERANCE = 1e-2  # of the largest logit; bf16 rounds to 0.4%

Model: TypeAlias = "PreTrainedModel | peft.PeftModel"
PerToken = Callable[[Tensor, Tensor], Tensor]
"""Maps hidden states [N, H] and one value or vector per token [N, ...] to one loss per token [N]."""


@dataclass(frozen=True)
class Head:
    """The output layer of a causal language model, with its logit scale (Granite, Cohere) and softcap (Gemma)."""

    layer: nn.Module
    chunk: int
    """Tokens whose logits exist at the same time."""
    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, model: Model) -> "Head":
        """Read the output layer and the parameters of its logits from the model's configuration."""
        base = base_of(model)
        config = base.config.get_text_config()
        values = vars(config)
        scale = (values.get("logit_scale") or 1.0) * (values.get("lm_head_multiplier") or 1.0)
        scale /= values.get("logits_scaling") or 1.0
        return cls(
            base.get_output_embeddings(), chunk_tokens(config.vocab_size), scale, values.get("final_logit_softcapping")
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the float32 logits [..., V] of hidden states [..., H], all at once."""
        return self.native(hidden).float()

    def native(self, hidden: Tensor) -> Tensor:
        """Return the logits in the precision of the output layer."""
        logits: Tensor = self.layer(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def logprobs(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the log-probability [N] in nats of `targets` [N] after hidden states [N, H], in float32.

        The logits are divided by `temperature`, so that the updated distribution is the sampled one.
        """

        def loss(part: Tensor, wanted: Tensor) -> Tensor:
            logits = _tempered(self.logits(part), temperature)
            return cast(Tensor, _TokenLogprob.apply(logits, wanted))  # type: ignore[no-untyped-call]

        return self._per_token(loss, hidden, targets)

    def divergence(self, hidden: Tensor, reference: Tensor, other_head: "Head | None" = None) -> Tensor:
        """Return KL(reference || model) [N] in nats of the next-token distributions after hidden states [N, H].

        `reference` [N, H] are hidden states of another adapter or of none, read by the same output layer, or of another
        model, read by its own; no gradient flows to them.
        """
        other_head = other_head or self

        def loss(part: Tensor, other: Tensor) -> Tensor:
            with torch.no_grad():
                target = other_head.logits(other).log_softmax(-1)
            return F.kl_div(self.logits(part).log_softmax(-1), target, reduction="none", log_target=True).sum(-1)

        return self._per_token(loss, hidden, reference)

    @torch.no_grad()
    def logprobs_and_entropy(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return `logprobs` [N] and the entropy [N] in nats of the next-token distributions, without gradients."""

        def measure(part: Tensor, wanted: Tensor) -> Tensor:
            logs = _tempered(self.logits(part), temperature).log_softmax(-1)
            return torch.stack([_at(logs, wanted), -(logs.exp() * logs).sum(-1)], dim=1)

        both = self._per_token(measure, hidden, targets)
        return both[:, 0], both[:, 1]

    def _per_token(self, function: PerToken, hidden: Tensor, values: Tensor) -> Tensor:
        """Apply `function` to chunks of tokens; with gradients to `hidden`, and to the layer if it is trained."""
        parts = zip(torch.split(hidden, self.chunk), torch.split(values, self.chunk), strict=True)
        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return torch.cat([function(*part) for part in parts])
        if any(parameter.requires_grad for parameter in self.layer.parameters()):
            return torch.cat([checkpoint(function, *part, use_reentrant=False) for part in parts])
        return cast(Tensor, _GradientInForward.apply(hidden, values, function, self.chunk))  # type: ignore[no-untyped-call]


class _GradientInForward(torch.autograd.Function):
    """Losses per token whose gradients [N, H] are computed in the forward pass; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, values: Tensor, function: PerToken, chunk: int) -> Tensor:
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        for part, value in zip(torch.split(hidden, chunk), torch.split(values, chunk), strict=True):
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                loss = function(part, value)
                gradients += torch.autograd.grad(loss.sum(), part)
            losses.append(loss.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (upstream[0][:, None] * gradient).to(gradient.dtype), None, None, None


class _TokenLogprob(torch.autograd.Function):
    """Log-probabilities [N] of tokens under logits [N, V]; the gradient takes the place of the log-softmax in memory.

    On a CPU it takes two thirds of the time of PyTorch's cross entropy (23 instead of 32 ms for 160 tokens).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        logs = logits.log_softmax(-1)
        likely = _at(logs, targets)
        if ctx.needs_input_grad[0]:
            descent = logs.exp_()
            ctx.save_for_backward(descent.scatter_add_(1, targets[:, None], -torch.ones_like(descent[:, :1])))
        return likely

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (descent,) = ctx.saved_tensors
        return descent.mul_(-upstream[0][:, None]), None  # in place: no graph is retained here


def _at(logs: Tensor, targets: Tensor) -> Tensor:
    """Return the entries [N] of `logs` [N, V] at `targets` [N]."""
    return logs.gather(1, targets[:, None])[:, 0]


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1.0 else logits / temperature


def chunk_tokens(vocabulary: int) -> int:
    """Return how many tokens have their logits in memory at the same time."""
    return max(1, CHUNK_BYTES // (4 * vocabulary))


def base_of(model: Model) -> PreTrainedModel:
    """Return the model that carries the adapters, or `model` itself if it has none."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, peft.PeftModel) else model


def hidden_states(model: Model, ids: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return the last hidden states [B, L, H] of `ids` [B, L], padded on the right, with the active adapter.

    There is no attention mask: a causal model never attends to padding on its right, and without a mask attention uses
    its fast path. From `positions` [B, L], which restart with each text of a packed row, transformers builds the
    document mask.
    """
    output = base_of(model).get_decoder()(input_ids=ids, position_ids=positions, use_cache=False)
    return cast(Tensor, output.last_hidden_state)


def checked_head(model: Model) -> Head:
    """Return the head of `model` after comparing it with the model's own forward on eight tokens.

    Raises:
        UserError: the model computes its logits in another way, so that the losses would be silently wrong.
    """
    head, base = Head.of(model), base_of(model)
    ids = torch.arange(8, device=base.device)[None]
    with torch.no_grad(), in_eval_mode(model), sharding.autocast_if_sharded(base):
        own = base(input_ids=ids, use_cache=False).logits.float()
        ours = head.logits(hidden_states(model, ids))
    if not torch.allclose(ours, own, rtol=0, atol=TOLERANCE * float(own.nan_to_num().abs().max()), equal_nan=True):
        raise UserError(
            f"{type(base).__name__} computes its logits from the hidden states in a way that training does not know "
            "(it knows logit scales and final_logit_softcapping); set base.model to a model of another architecture."
        )
    return head


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
