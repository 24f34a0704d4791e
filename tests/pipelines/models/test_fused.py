"""Fused layers: loss and gradients equal those of transformers and PEFT, whichever adapter is active."""

from collections.abc import Callable
from contextlib import nullcontext

import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from pipelines.models.fused.patch import fuse

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "attn_implementation": "eager",
}
IDS = torch.randint(3, 97, (3, 11), generator=torch.Generator().manual_seed(0))
PACKED = torch.cat([torch.arange(4), torch.arange(7)]).expand(3, -1)
Variant = Callable[[peft.PeftModel], None]


def adapted(dropout: float = 0.0) -> peft.PeftModel:
    """Return a Llama with two different adapters that change its outputs; "default" is active."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear")
    model = peft.get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config)
    model.add_adapter("other", peft.LoraConfig(r=3, lora_alpha=2, target_modules="all-linear"))
    for name, value in model.named_parameters():
        if "lora_B" in name or "layernorm" in name:
            torch.nn.init.normal_(value, mean="layernorm" in name, std=0.1)
    return model


def outcome(model: peft.PeftModel, **inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the hidden states, and the gradients of a function of them by parameter."""
    states = model.get_base_model().get_decoder()(IDS, use_cache=False, **inputs).last_hidden_state
    model.zero_grad()
    if states.requires_grad:
        (states * torch.linspace(-1, 1, states.shape[-1])).square().sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return states.detach(), gradients


def both(change: Variant, **inputs: torch.Tensor) -> tuple[float, float, int]:
    """Return the largest relative differences of states and of gradients, and the number of gradients."""
    plain, fused = adapted(), adapted()
    assert fuse(fused)
    for model in (plain, fused):
        change(model)
    (expected, gradients), (states, own) = outcome(plain, **inputs), outcome(fused, **inputs)
    assert gradients.keys() == own.keys()
    far = [float((own[name] - each).norm() / each.norm()) for name, each in gradients.items()]
    return float((states - expected).abs().max() / expected.abs().max()), max(far, default=0.0), len(far)


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        (lambda model: None, 28),
        (lambda model: model.set_adapter("other"), 28),
        (lambda model: model.base_model.disable_adapter_layers(), 0),
        (lambda model: model.base_model.set_adapter(["default", "other"]), 56),
        (lambda model: model.merge_adapter(), 0),
    ],
    ids=["default", "other", "disabled", "two", "merged"],
)
def test_states_and_gradients_are_those_of_transformers(change: Variant, trained: int) -> None:
    states, gradients, count = both(change)
    assert states < 1e-5 and gradients < 1e-4
    assert count == trained


def test_packed_texts_stay_apart() -> None:
    states, gradients, _ = both(lambda model: None, position_ids=PACKED)
    assert states < 1e-5 and gradients < 1e-4


def test_layers_are_really_replaced() -> None:
    model = adapted()
    assert fuse(model)
    projection = model.get_base_model().model.layers[0].self_attn.q_proj
    projection.forward = None  # would be called by transformers' own layer
    outcome(model)


def test_generation_with_a_cache_is_unchanged() -> None:
    plain, fused = adapted().eval(), adapted().eval()
    assert fuse(fused)
    for model in (plain, fused):
        model.generation_config.update(pad_token_id=0, eos_token_id=1)
    ids = [model.generate(input_ids=IDS, max_new_tokens=5, do_sample=False) for model in (plain, fused)]
    assert torch.equal(*ids)


def test_dropout_uses_the_own_forward_pass_while_training() -> None:
    model = adapted(dropout=0.5).train()
    assert fuse(model)
    assert not torch.equal(outcome(model)[0], outcome(model)[0])
    model.eval()
    assert torch.equal(outcome(model)[0], outcome(model)[0])


def test_biases_of_lora_are_trained_by_the_own_forward_pass() -> None:
    lora = peft.LoraConfig(r=4, target_modules="all-linear", lora_bias=True)
    model = peft.get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), lora)
    assert fuse(model)
    _, gradients = outcome(model)
    biases = [gradients[name] for name, _ in model.named_parameters() if name.endswith("lora_B.default.bias")]
    assert len(biases) == 14 and all(gradient.any() for gradient in biases)


def test_scaling_an_adapter_counts_later_too() -> None:
    def scaled(model: peft.PeftModel) -> None:
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scale_layer(0.5)

    assert both(scaled)[0] < 1e-5


def test_weights_take_no_more_memory() -> None:
    model = adapted()
    assert fuse(model)
    attention = model.get_base_model().model.layers[0].self_attn
    query, key = (each.base_layer.weight for each in (attention.q_proj, attention.k_proj))
    assert query.untyped_storage().data_ptr() == key.untyped_storage().data_ptr()


def test_other_models_stay_as_they_are() -> None:
    config = peft.LoraConfig(r=4, target_modules="all-linear")
    assert not fuse(peft.get_peft_model(Qwen3ForCausalLM(Qwen3Config(**SIZES)), config))
    partly = peft.LoraConfig(r=4, target_modules=["q_proj"])
    assert not fuse(peft.get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), partly))
    other_attention = LlamaForCausalLM(LlamaConfig(**{**SIZES, "attn_implementation": "sdpa"}))
    assert not fuse(peft.get_peft_model(other_attention, config))
    with_bias = LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True))
    assert not fuse(peft.get_peft_model(with_bias, config))
    with torch.device("meta") if not torch.cuda.is_available() else nullcontext():
        elsewhere = peft.get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config)
    assert not fuse(elsewhere)
