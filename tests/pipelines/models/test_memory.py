"""The memory estimate against measured saved tensors, measured peaks, and known sizes of models."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft.helpers import disable_input_dtype_casting
from transformers import (
    BitsAndBytesConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaForCausalLM,
    MixtralConfig,
    PreTrainedConfig,
)

from pipelines.models import devices, memory
from pipelines.models.memory import GIB, Training, estimate, first_fit, trace
from pipelines.models.tuning.apply import apply
from pipelines.models.tuning.config import TuningConfig
from pipelines.training.examples import IGNORED, Example
from pipelines.training.objectives import LanguageModel
from tests.support.families import FAMILIES, configuration
from tests.support.model_shapes import MEDIUM, SHAPES, peak

pytestmark = pytest.mark.slow

LORA = TuningConfig(method="lora", options={"r": 16, "lora_alpha": 32})
FULL = TuningConfig(method="full", options={})
QLORA = Training(LORA, "nf4", torch.bfloat16, rows=1, length=2048, predicted=512, checkpointing=True)


def traced(config: PreTrainedConfig, training: Training) -> memory.Traced:
    found = trace(config, training)
    assert found is not None
    return found


def real(training: Training) -> Any:
    """Return a medium Llama with random weights."""
    torch.manual_seed(0)
    model = LlamaForCausalLM._from_config(MEDIUM, dtype=training.dtype, attn_implementation=training.attention)
    if training.tuning.method == "full":
        return model.train()
    return apply(model, training.tuning).train()


def step(model: Any, training: Training) -> None:
    """Run the forward and backward pass of one batch with `training.predicted` labelled tokens."""
    ids = torch.randint(0, MEDIUM.vocab_size, (training.rows, training.length))
    labels = torch.full_like(ids, IGNORED)
    labels.view(-1)[-training.predicted :] = ids.view(-1)[-training.predicted :]
    rehearsed = training.rehearsed > 0
    rows = [Example(*row, rehearsed) for row in zip(ids.tolist(), labels.tolist(), strict=True)]
    objective = LanguageModel(model, rows, pad=0)
    half = training.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half), disable_input_dtype_casting(model):
        loss = objective(model, range(training.rows))
    loss.total.backward()


@pytest.mark.parametrize(
    ("dtype", "attention", "predicted", "rehearsed"),
    [
        (torch.float32, "sdpa", 40, 0),
        (torch.float32, "sdpa", 500, 0),
        (torch.float32, "sdpa", 500, 500),
        (torch.float32, "eager", 500, 500),
        (torch.bfloat16, "sdpa", 500, 500),
        (torch.bfloat16, "eager", 40, 0),
    ],
    ids=str,
)
def test_peak_of_a_step_is_estimated(dtype: torch.dtype, attention: Any, predicted: int, rehearsed: int) -> None:
    training = Training(LORA, "none", dtype, 2, 256, predicted, rehearsed, attention=attention)
    expected = estimate(traced(MEDIUM, training), training)
    model = real(training)
    step(model, training)
    model.zero_grad(set_to_none=True)
    measured = peak(lambda: step(model, training))
    assert 0.98 < (expected.activations + expected.backward + expected.gradients) / measured < 1.15


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
def test_activations_are_the_tensors_that_autograd_saves(tuning: TuningConfig) -> None:
    training = Training(tuning, "none", torch.float32, rows=2, length=100, predicted=10)
    model = real(training)
    decoder = model.get_decoder() if tuning is FULL else model.get_base_model().get_decoder()
    own = {each.untyped_storage().data_ptr() for each in (*decoder.parameters(), *decoder.buffers())}
    saved: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
    ):
        decoder(input_ids=torch.zeros(2, 100, dtype=torch.long), use_cache=False)
    measured = sum(each.untyped_storage().nbytes() for storage, each in saved.items() if storage not in own)
    assert estimate(traced(MEDIUM, training), training).activations == pytest.approx(measured, rel=0.05)


def test_activation_checkpointing_keeps_the_inputs_of_layers_and_one_layer() -> None:
    training = Training(LORA, "none", torch.float32, rows=2, length=256, predicted=8, checkpointing=True)
    expected = estimate(traced(MEDIUM, training), training)
    model = real(training)
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    step(model, training)
    model.zero_grad(set_to_none=True)
    measured = peak(lambda: step(model, training))
    assert 0.95 < (expected.activations + expected.backward + expected.gradients) / measured < 1.2
    whole = estimate(traced(MEDIUM, training), replace(training, checkpointing=False))
    assert expected.activations < whole.activations / 2


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_weights_have_the_bytes_of_the_quantised_model(quantization: Any, tmp_path: Any) -> None:
    training = Training(LORA, quantization, torch.bfloat16, rows=1, length=8, predicted=8)
    expected = estimate(traced(MEDIUM, training), training)
    LlamaForCausalLM(MEDIUM).to(torch.bfloat16).save_pretrained(tmp_path)
    options: dict[str, dict[str, Any]] = {
        "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        "int8": {"load_in_8bit": True},
    }
    model = LlamaForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**options[quantization])
    )
    stored = sum(map(_stored_bytes, model.parameters()))
    assert expected.weights + expected.unquantized == pytest.approx(stored, rel=0.001)


def _stored_bytes(weight: torch.Tensor) -> int:
    """Return the bytes of a parameter with the scales of its quantisation, without bitsandbytes' constant tables."""
    state = getattr(weight, "quant_state", None)
    scales = [] if state is None else [state.absmax, state.state2.absmax]
    return sum(each.numel() * each.element_size() for each in (weight, *scales))


def test_8b_llama_in_nf4_takes_less_than_8_gib() -> None:
    shape = traced(SHAPES["meta-llama/Llama-3.1-8B-Instruct"](), QLORA)
    assert shape.matrices + shape.others == 8_030_261_248
    needed = estimate(shape, QLORA)
    assert 6.5 * GIB < needed.total < 8 * GIB
    assert needed.weights / GIB == pytest.approx(3.35, abs=0.02)
    without = estimate(shape, replace(QLORA, checkpointing=False))
    assert without.activations / GIB == pytest.approx(11.4, abs=0.3)
    text = str(needed)
    assert "frozen weights" in text and f"{needed.total / GIB:.2f} GiB" in text.splitlines()[-1]
    assert sum(float(line.split()[-2]) for line in text.splitlines()[:-1]) == pytest.approx(
        needed.total / GIB, abs=0.05
    )


def test_full_fine_tuning_needs_sixteen_bytes_per_parameter() -> None:
    training = Training(FULL, "none", torch.bfloat16, rows=1, length=16, predicted=16)
    needed, parameters = estimate(traced(MEDIUM, training), training), LlamaForCausalLM(MEDIUM).num_parameters()
    assert needed.weights == needed.unquantized == 0
    assert needed.trainable + needed.gradients + needed.optimizer == 16 * parameters
    halved = estimate(traced(MEDIUM, training), replace(training, optimizer="adamw_8bit"))
    assert halved.optimizer == int(2.03 * parameters)
    rehearsing = estimate(traced(MEDIUM, training), replace(training, rehearsed=4))
    assert rehearsing.weights == 2 * MEDIUM.vocab_size * MEDIUM.hidden_size, "the base model's output layer, in bf16"


def test_sharded_layers_are_gathered_in_bf16() -> None:
    alone = Training(FULL, "none", torch.bfloat16, rows=1, length=16, predicted=16)
    together = replace(alone, shards=8)
    one, eight = estimate(traced(MEDIUM, alone), alone), estimate(traced(MEDIUM, together), together)
    layers = LlamaForCausalLM(MEDIUM).model.layers
    parameters = sum(each.numel() for each in layers.parameters())
    states = [each.trainable + each.gradients + each.optimizer for each in (one, eight)]
    assert states[0] - states[1] == pytest.approx(16 * parameters * 7 / 8, rel=1e-6)
    assert one.gathered == 0 and eight.gathered == 10 * parameters // len(layers)
    assert one.activations - eight.activations > 2 * parameters, "no cast of a weight outlives its layer"


def test_casts_of_trained_weights_do_not_grow_with_the_rows() -> None:
    single = Training(FULL, "none", torch.bfloat16, rows=1, length=16, predicted=16)
    shape = traced(MEDIUM, single)
    one, three = (estimate(shape, replace(single, rows=rows)).activations for rows in (1, 3))
    assert three - one == 2 * shape.saved and shape.casts > shape.saved


def test_an_architecture_with_sliding_windows_is_traced() -> None:
    config = Gemma3TextConfig(
        vocab_size=1000, hidden_size=64, intermediate_size=128, num_hidden_layers=6, num_attention_heads=4, head_dim=16
    )
    training = Training(LORA, "none", torch.bfloat16, rows=1, length=64, predicted=8)
    assert estimate(traced(config, training), training).activations > 6 * 64 * 64 * 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", sorted({own.config: name for name, own in FAMILIES.items()}.values()))
def test_every_family_has_an_estimate_on_a_gpu_and_on_a_cpu(family: str, attention: Any) -> None:
    config = configuration(FAMILIES[family], vocab_size=300, pad_token_id=0)
    training = Training(LORA, "none", torch.float32, rows=1, length=32, predicted=8, attention=attention)
    assert estimate(traced(config, training), training).activations > 0


@pytest.mark.parametrize("config", [Gemma2Config, GptOssConfig])
def test_architectures_without_sdpa_are_estimated_with_eager_attention(config: type[PreTrainedConfig]) -> None:
    shape = config(vocab_size=300, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    sdpa = Training(FULL, "none", torch.bfloat16, rows=1, length=16, predicted=10, attention="sdpa")
    assert trace(shape, sdpa) == trace(shape, replace(sdpa, attention="eager"))


def test_the_matrices_of_gpt2_are_counted() -> None:
    config = GPT2Config(vocab_size=1000, n_embd=64, n_layer=2, n_head=4)
    training = Training(LORA, "none", torch.float32, rows=1, length=64, predicted=8)
    shape = traced(config, training)
    assert shape.matrices == 2 * 12 * 64**2 and shape.largest_matrix == 4 * 64**2


@pytest.mark.parametrize(("tuning", "dtype"), [(FULL, torch.bfloat16), (LORA, torch.float32)], ids=["full", "lora"])
def test_experts_that_cannot_be_traced_have_no_estimate(tuning: TuningConfig, dtype: torch.dtype) -> None:
    config = MixtralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
    )
    training = Training(tuning, "none", dtype, rows=1, length=16, predicted=10)
    assert trace(config, training) is None


def test_the_first_change_that_fits_is_named() -> None:
    shape = traced(MEDIUM, replace(QLORA, length=1024))
    sizes = [8, 4, 2, 1]
    options = [
        (f"batch_tokens {1024 * rows} instead of 16384", replace(QLORA, rows=rows, length=1024)) for rows in sizes
    ]
    needed = [estimate(shape, training).total for _, training in options]
    assert needed == sorted(needed, reverse=True)
    named = first_fit(shape, options, needed[2])
    assert named == f"batch_tokens 2048 instead of 16384 needs {needed[2] / GIB:.1f} GiB"
    assert first_fit(shape, options, needed[3] - 1) is None


def test_available_memory_is_that_of_the_machine() -> None:
    assert 0 < devices.available(torch.device("cpu")) < 2**50
