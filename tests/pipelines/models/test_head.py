"""The output layer: equal to the model's own forward, also in chunks, with its gradients, and checked before use."""

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from pipelines.models.head import Head, checked_head, hidden_states, in_eval_mode
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

LAYERS = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHAPES = {
    "llama": LlamaConfig(**LAYERS),
    "granite": GraniteConfig(**LAYERS, logits_scaling=3.0),
    "cohere": CohereConfig(**LAYERS, logit_scale=0.25),
    "cohere2": Cohere2Config(**LAYERS, logit_scale=0.25, head_dim=16),
    "gemma2": Gemma2Config(**LAYERS, head_dim=16, final_logit_softcapping=2.0),
    "gemma3": Gemma3TextConfig(**LAYERS, head_dim=16, final_logit_softcapping=2.0),
    "qwen3": Qwen3Config(**LAYERS, head_dim=16),
    "phi, with an output bias": PhiConfig(**LAYERS),
}
IDS = torch.tensor([[3, 9, 27, 20, 60, 58, 52, 34], [4, 12, 36, 47, 19, 57, 49, 25]])


def built(shape: PretrainedConfig) -> PreTrainedModel:
    """Return a frozen random model with logits large enough for its softcap."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(shape, attn_implementation="eager").eval().requires_grad_(False)
    model.get_output_embeddings().weight.data *= 20
    if model.get_output_embeddings().bias is not None:
        torch.nn.init.normal_(model.get_output_embeddings().bias)
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_logits_and_logprobs_are_those_of_the_model(name: str) -> None:
    model = built(SHAPES[name])
    head, hidden = checked_head(model), hidden_states(model, IDS)
    own = model(IDS).logits
    torch.testing.assert_close(head.logits(hidden), own, atol=1e-5, rtol=1e-5)
    found = head.logprobs(hidden[:, :-1].flatten(0, 1), IDS[:, 1:].flatten(), temperature=0.7)
    expected = (own[:, :-1] / 0.7).log_softmax(-1).gather(-1, IDS[:, 1:, None]).flatten()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    both, entropy = head.logprobs_and_entropy(hidden[:, :-1].flatten(0, 1), IDS[:, 1:].flatten(), 0.7)
    assert torch.equal(both, found)
    spread = torch.distributions.Categorical(logits=own[:, :-1] / 0.7).entropy().flatten()
    torch.testing.assert_close(entropy, spread, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_have_the_losses_and_gradients_of_full_logits(chunk: int, trained: bool) -> None:
    model = built(SHAPES["gemma2"])
    layer = model.get_output_embeddings().requires_grad_(trained)
    whole = Head.of(model)
    head = Head(layer, chunk, whole.scale, whole.softcap)
    torch.manual_seed(1)
    hidden, other, scale = torch.randn(7, 32), torch.randn(7, 32), torch.randn(7)
    targets = torch.randint(61, (7,))

    def gradients(direct: bool) -> list[torch.Tensor]:
        leaf = hidden.clone().requires_grad_()
        if direct:
            logits = whole.logits(leaf)
            chosen = -F.cross_entropy(logits, targets, reduction="none")
            reference = whole.logits(other).detach().softmax(-1)
            kl = (reference * (reference.log() - logits.log_softmax(-1))).sum(-1)
        else:
            chosen, kl = head.logprobs(leaf, targets), head.divergence(leaf, other)
        loss = (scale * chosen).sum() + 3 * kl.mean()
        return [loss, *torch.autograd.grad(loss, [leaf, layer.weight] if trained else [leaf])]

    for ours, expected in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_no_tensor_of_all_tokens_by_vocabulary_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(SHAPES["llama"])
    head = Head(model.get_output_embeddings(), chunk=4)
    widest = 0
    forward = head.layer.forward

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal widest
        widest = max(widest, len(hidden))
        return forward(hidden)

    monkeypatch.setattr(head.layer, "forward", watched)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    hidden = torch.randn(40, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        loss = head.logprobs(hidden, torch.zeros(40, dtype=torch.long)).sum()
    loss.backward()
    assert widest == 4 and 40 * 32 in kept and max(kept) < 40 * 61


def test_no_tokens_have_no_losses() -> None:
    head = Head.of(built(SHAPES["llama"]))
    empty = torch.zeros(0, 32, requires_grad=True)
    head.logprobs(empty, torch.zeros(0, dtype=torch.long)).sum().backward()
    assert empty.grad is not None


def test_model_with_other_logits_is_a_user_error() -> None:
    model = built(SHAPES["llama"])
    model.lm_head.register_forward_hook(lambda module, inputs, output: output)
    checked_head(model)
    forward = model.forward

    def doubled(*inputs: object, **options: object) -> object:
        output = forward(*inputs, **options)
        output.logits = 2 * output.logits
        return output

    model.forward = doubled
    with pytest.raises(UserError, match="computes its logits"):
        checked_head(model)


def test_eval_mode_ends_with_the_block() -> None:
    module = torch.nn.Dropout(0.5).train()
    with in_eval_mode(module):
        assert not module.training
    assert module.training
