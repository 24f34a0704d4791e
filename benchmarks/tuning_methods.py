"""The methods that the comparison of fine-tuning measures, each with its options and three learning rates.

A learning rate is that of the changed quantity: directions of low rank are learnt faster than whole weights, and
single factors and virtual tokens faster still. Options are those of the papers or PEFT's defaults, with rank 32 as in
params.yaml where a method has a rank of that meaning; sizes of blocks divide the widths 192, 576 and 1,536 of SmolLM2.
"""

from dataclasses import dataclass
from typing import Any

LORA = "LoRA"
"""The method that the others are compared with."""
Rates = tuple[float, ...]
LOW_RANK: Rates = (5e-4, 1.5e-3, 3e-3)
WEIGHTS: Rates = (2e-5, 6e-5, 2e-4)
SPARSE: Rates = (1e-4, 3e-4, 1e-3)
"""Of selected entries of weights."""
ROTATIONS: Rates = (2e-4, 6e-4, 2e-3)
"""Of orthogonal factors of weights, and of sums that are shared by blocks of them."""
VECTORS: Rates = (1e-3, 3e-3, 1e-2)
"""Of biases, norms, factors of activations, and coefficients of frozen matrices."""
SPECTRAL: Rates = (3e-3, 1e-2, 3e-2)
"""Of coefficients of a Fourier or wavelet transform."""
TOKENS: Rates = (1e-2, 3e-2, 1e-1)
"""Of virtual tokens, or of their keys and values."""


@dataclass(frozen=True)
class Method:
    """A method of fine-tuning (`tuning` in params.yaml), and the learning rates of which the best is taken."""

    method: str
    rates: Rates
    options: dict[str, Any]


def _of(method: str, rates: Rates, **options: Any) -> Method:
    return Method(method, rates, options)


_RANK = {"r": 32, "lora_alpha": 64}
_PATTERN = {"rank_pattern": {"down_proj": 64}, "alpha_pattern": {"down_proj": 128}}
_MLP = {"encoder_hidden_size": 256}
_TEXT = {
    "prompt_tuning_init": "TEXT",
    "prompt_tuning_init_text": "Answer the question from the documents, or say that you do not know.",
}
_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_UPPER = list(range(15, 30))
"""The upper half of the 30 layers of SmolLM2."""

METHODS: dict[str, Method] = {
    LORA: _of("lora", LOW_RANK, **_RANK),
    "rsLoRA": _of("lora", LOW_RANK, r=32, lora_alpha=11, use_rslora=True),  # 11 / √32 ≈ 64 / 32
    "DoRA": _of("lora", LOW_RANK, **_RANK, use_dora=True),
    "LoRA+": _of("lora", (1e-4, 3e-4, 1e-3), **_RANK, loraplus_lr_ratio=8),
    "PiSSA": _of("lora", (1e-4, 3e-4, 1e-3), r=32, lora_alpha=32, init_lora_weights="pissa"),
    "OLoRA": _of("lora", (1e-4, 3e-4, 1e-3), r=32, lora_alpha=32, init_lora_weights="olora"),
    "EVA": _of("lora", LOW_RANK, **_RANK, init_lora_weights="eva"),
    "LoRA by rank pattern": _of("lora", LOW_RANK, **_RANK, **_PATTERN),
    "LoRA on upper layers": _of("lora", LOW_RANK, **_RANK, target_modules=_LINEAR, layers_to_transform=_UPPER),
    "AdaLoRA": _of("adalora", LOW_RANK, init_r=48, target_r=32, lora_alpha=64),
    "LoHa": _of("loha", LOW_RANK, r=32, alpha=64),
    "LoKr": _of("lokr", LOW_RANK, r=32, alpha=64),
    "HiRA": _of("hira", LOW_RANK, r=32),
    "GraLoRA": _of("gralora", LOW_RANK, r=32),
    "GLoRA": _of("glora", LOW_RANK),
    "DeLoRA": _of("delora", LOW_RANK),
    "DEFT": _of("deft", LOW_RANK),
    "RandLoRA": _of("randlora", LOW_RANK),
    "Lily": _of("lily", LOW_RANK),
    "PEANuT": _of("peanut", LOW_RANK),
    "AdaMSS": _of("adamss", LOW_RANK),
    "full": _of("full", WEIGHTS),
    "last 4 layers": _of("layers", WEIGHTS, last=4),
    "last 8 layers": _of("layers", WEIGHTS, last=8),
    "gradual unfreezing": _of("layers", WEIGHTS, first=0, gradual=0.5),
    "feed-forward outputs": _of("layers", WEIGHTS, names=[r"mlp\.down_proj"]),
    "OSF": _of("osf", WEIGHTS),
    "FISH mask": _of("fisher", SPARSE, share=0.005, rows=256),
    "SHiRA": _of("shira", SPARSE, r=32),
    "OFT": _of("oft", ROTATIONS),
    "BOFT": _of("boft", ROTATIONS),
    "HRA": _of("hra", ROTATIONS),
    "PSOFT": _of("psoft", ROTATIONS),
    "MiSS": _of("miss", ROTATIONS),
    "bias": _of("bias", VECTORS),
    "BEFT": _of("beft", VECTORS),
    "norms": _of("norms", VECTORS),
    "LN tuning": _of("ln_tuning", VECTORS),
    "IA3": _of("ia3", VECTORS),
    "RoAd": _of("road", VECTORS),
    "VeRA": _of("vera", VECTORS),
    "PVeRA": _of("pvera", VECTORS),
    "VB-LoRA": _of("vblora", VECTORS, r=4, num_vectors=256, vector_length=64),
    "TinyLoRA": _of("tinylora", VECTORS),
    "Uni-LoRA": _of("unilora", VECTORS),
    "FRoD": _of("frod", VECTORS),
    "SuperTuning": _of("supertuning", VECTORS),
    "turn markers": _of("trainable_tokens", VECTORS, token_indices=[1, 2]),  # <|im_start|>, <|im_end|> of SmolLM2
    "FourierFT": _of("fourierft", SPECTRAL),
    "WaveFT": _of("waveft", SPECTRAL),
    "C3A": _of("c3a", SPECTRAL, block_size=64),
    "Houlsby adapters": _of("bottleneck", LOW_RANK, placement="houlsby"),
    "Pfeiffer adapters": _of("bottleneck", LOW_RANK),
    "parallel adapters": _of("bottleneck", LOW_RANK, placement="parallel", scale=4.0),
    "AdapterDrop": _of("bottleneck", LOW_RANK, drop_first=5),
    "prompt tuning": _of("prompt_tuning", TOKENS, num_virtual_tokens=20),
    "prompt from text": _of("prompt_tuning", TOKENS, num_virtual_tokens=20, **_TEXT),
    "prompt from vocabulary": _of("prompt_tuning", TOKENS, num_virtual_tokens=20, prompt_tuning_init="SAMPLE_VOCAB"),
    "multitask prompt": _of("multitask_prompt_tuning", TOKENS, num_virtual_tokens=20),
    "P-tuning": _of("p_tuning", VECTORS, num_virtual_tokens=20, **_MLP),
    "P-tuning (LSTM)": _of("p_tuning", VECTORS, num_virtual_tokens=20, **_MLP, encoder_reparameterization_type="LSTM"),
    "prefix tuning": _of("prefix_tuning", TOKENS, num_virtual_tokens=20),
    "prefix with projection": _of("prefix_tuning", VECTORS, num_virtual_tokens=20, prefix_projection=True, **_MLP),
}
