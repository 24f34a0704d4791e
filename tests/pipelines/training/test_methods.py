"""Every tuning method trains, resumes after a SIGKILL, is stored, loaded and merged, with equal logits (tiny model)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.config import Config
from pipelines.models import adapters, loading, saving
from pipelines.models.config import BaseModelConfig
from pipelines.models.head import Model, base_of, hidden_states, in_eval_mode
from pipelines.models.release import merging
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel, Preserved
from pipelines.training.step import Job
from pipelines.training.tuning.data import prepare
from tests.support.interruptions import Fatal, killed
from tests.support.recorder import Recorder
from tests.support.trainings import examples, training

pytestmark = pytest.mark.slow

IDS = torch.tensor([[3, 50, 70, 90, 110, 7, 44], [9, 8, 7, 6, 5, 4, 3]])
PLAN = [[0, 1], [2, 3], [4, 5], [6, 7]]
ATTENTION = {"target_modules": ["q_proj", "v_proj"]}
BASE = BaseModelConfig(model="unused", chat_template=None, thinking=False, quantization="none", trust_remote_code=False)
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "last layer": ("layers", {"last": 1}),
    "upper layers": ("layers", {"first": 1}),
    "layers by name": ("layers", {"names": [r"mlp\.down_proj", r"^model\.norm"]}),
    "gradual unfreezing": ("layers", {"last": 2, "gradual": 0.5}),
    "norms": ("norms", {}),
    "fisher": ("fisher", {"share": 0.01, "rows": 4}),
    "houlsby": ("bottleneck", {"placement": "houlsby", "size": 8}),
    "pfeiffer": ("bottleneck", {"size": 8}),
    "parallel": ("bottleneck", {"placement": "parallel", "size": 8, "scale": 4.0}),
    "AdapterDrop": ("bottleneck", {"size": 8, "drop_first": 1}),
    "lora": ("lora", {"r": 4, "lora_alpha": 8}),
    "rsLoRA": ("lora", {"r": 4, "use_rslora": True}),
    "DoRA": ("lora", {"r": 4, "use_dora": True}),
    "LoRA+": ("lora", {"r": 4, "loraplus_lr_ratio": 8}),
    "PiSSA": ("lora", {"r": 4, "init_lora_weights": "pissa"}),
    "OLoRA": ("lora", {"r": 4, "init_lora_weights": "olora"}),
    "EVA": ("lora", {"r": 4, "init_lora_weights": "eva"}),
    "rank pattern": ("lora", {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 16}}),
    "PiSSA with patterns": (
        "lora",
        {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 16}, "init_lora_weights": "pissa"},
    ),
    "adalora": ("adalora", {"init_r": 6, "target_r": 2, "tinit": 0, "tfinal": 1, "deltaT": 1}),
    "ia3": ("ia3", {}),
    "vera": ("vera", {"r": 4}),
    "oft": ("oft", {"oft_block_size": 16}),
    "boft": ("boft", {"boft_block_size": 4}),
    "loha": ("loha", {"r": 4}),
    "lokr": ("lokr", {"r": 4}),
    "fourierft": ("fourierft", {"n_frequency": 20}),
    "ln_tuning": ("ln_tuning", {}),
    "shira": ("shira", {"r": 4}),
    "hra": ("hra", {"r": 4}),
    "vblora": ("vblora", {"r": 4, "num_vectors": 32, "vector_length": 16}),
    "miss": ("miss", {"r": 4}),
    "randlora": ("randlora", {"r": 4}),
    "lily": ("lily", {"r": 4, **ATTENTION}),
    "trainable_tokens": ("trainable_tokens", {"token_indices": [3, 50, 70]}),
    "prompt": ("prompt_tuning", {"num_virtual_tokens": 4}),
    "prompt from text": (
        "prompt_tuning",
        {"num_virtual_tokens": 4, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "The mill was restored."},
    ),
    "prompt from vocabulary": ("prompt_tuning", {"num_virtual_tokens": 4, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    "P-tuning (MLP)": ("p_tuning", {"num_virtual_tokens": 4, "encoder_hidden_size": 16}),
    "P-tuning (LSTM)": (
        "p_tuning",
        {"num_virtual_tokens": 4, "encoder_hidden_size": 16, "encoder_reparameterization_type": "LSTM"},
    ),
    "prefix": ("prefix_tuning", {"num_virtual_tokens": 4}),
    "prefix with projection": (
        "prefix_tuning",
        {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 16},
    ),
    "multitask prompt": ("multitask_prompt_tuning", {"num_virtual_tokens": 4, "num_ranks": 2}),
}
UNMERGED = {"houlsby", "pfeiffer", "parallel", "AdapterDrop", "lily"} | {
    name for name, (kind, _) in METHODS.items() if kind.startswith(("prompt", "p_", "prefix", "multitask"))
}


def learn(tuning: TuningConfig, base: Path, config: Config, out: Path, checkpoints: Checkpoints) -> Model:
    """Train by the method; keep a checkpoint of each step."""
    model = preparation.trainable(base, tuning, config.compute, BASE)
    copy = preparation.frozen(base, config.compute) if tuning.selects else None
    before = None if copy is None else Preserved.of(copy, examples(), 0, config.compute)
    objective = LanguageModel(model, examples(), 0, rehearsal_weight=3.0, before=before)
    job = Job("sft", 1e-2, 1, training(), config.compute, Recorder(), checkpoints)
    hooks = prepare(model, tuning, objective, PLAN, job, out)
    model.train()
    fit(model, objective, PLAN, job, None, None, hooks)
    return model


@torch.no_grad()
def logits(model: Model) -> torch.Tensor:
    """Return the logits as losses and decoding compute them."""
    with in_eval_mode(model):
        hidden = hidden_states(model, IDS)
        values: torch.Tensor = base_of(model).get_output_embeddings()(hidden)
    return values


def trained(model: Model) -> Mapping[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("name", METHODS)
def test_method_trains_resumes_after_kill_9_and_answers_alike_after_loading_and_merging(
    name: str, base: Path, config: Config, tmp_path: Path
) -> None:
    kind, options = METHODS[name]
    tuning = TuningConfig(method=kind, options=options)
    untrained = logits(loading.load(base, config.compute))
    model = learn(tuning, base, config, tmp_path, Checkpoints())
    expected = logits(model)
    assert (expected - untrained).abs().max() > 1e-4

    killed(lambda: learn(tuning, base, config, tmp_path, Fatal(tmp_path / "key", patience=2)))
    resumed = learn(tuning, base, config, tmp_path, Checkpoints(tmp_path / "key"))
    for key, value in trained(model).items():
        assert torch.equal(value, trained(resumed)[key]), key

    saving.save(model, loading.tokenizer(base), tmp_path / "sft", base)
    found = logits(loading.load(tmp_path / "sft", config.compute))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    if name in UNMERGED:
        with pytest.raises(UserError, match="cannot be merged"):
            merging.merge(tmp_path / "sft", tmp_path / "whole", config.compute)
    else:
        merging.merge(tmp_path / "sft", tmp_path / "whole", config.compute)
        assert adapters.parent(tmp_path / "whole") is None
        torch.testing.assert_close(
            logits(loading.load(tmp_path / "whole", config.compute)), expected, atol=1e-5, rtol=0
        )
