"""The form in which a trained adapter is stored: a method that differs from a simpler one only in training becomes it.

So it is merged, continued and served as that one. All conversions are exact up to rounding in float32.
"""

from copy import deepcopy
from typing import Any

import peft
import torch
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from pipelines.models.tuning.apply import ADAPTER, INITIAL

State = dict[str, Tensor]
_PROMPT = "prompt_embeddings"  # PEFT's name
_EPSILON = 1e-5  # that AdaLoRA's forward adds to its rank


def of(model: peft.PeftModel) -> tuple[peft.PeftConfig, State] | None:
    """Return the configuration and the tensors to store of the adapter "default"; None if it is stored as it is."""
    config = deepcopy(model.peft_config[ADAPTER])
    if isinstance(config, peft.AdaLoraConfig):
        return _allocated(model, config)
    if isinstance(config, peft.PrefixTuningConfig):
        config.prefix_projection = False
        return config, {_PROMPT: model.get_prompt_embedding_to_save(ADAPTER)}
    if config.is_prompt_learning:
        task = torch.zeros(1, dtype=torch.long, device=model.device)  # of multitask prompt tuning: one
        return _prompt(config), {_PROMPT: model.get_prompt(1, task_ids=task)[0].detach()}
    if INITIAL not in model.peft_config:
        return None
    assert isinstance(config, peft.LoraConfig)
    trained, subtracted = (get_peft_model_state_dict(model, adapter_name=name) for name in (ADAPTER, INITIAL))
    return _difference(config, trained, subtracted)


def _difference(config: peft.LoraConfig, trained: State, subtracted: State) -> tuple[peft.PeftConfig, State]:
    """Return the sum of two adapters as one of twice the rank.

    With W + s(BA - B'A') = W + s[B, -B'][A; A'], the scale s is alpha / r, so alpha doubles too (rsLoRA: times the root
    of two), also in the patterns of single modules. `subtracted` has -B'.
    """
    factor = 2**0.5 if config.use_rslora else 2
    config.r, config.lora_alpha = 2 * config.r, factor * config.lora_alpha
    config.rank_pattern = {module: 2 * rank for module, rank in config.rank_pattern.items()}
    config.alpha_pattern = {module: factor * alpha for module, alpha in config.alpha_pattern.items()}
    config.target_modules = sorted(config.target_modules or [])
    axis = {"lora_A": 0, "lora_B": 1}
    return config, {
        name: torch.cat([value, subtracted[name]], dim=axis[next(part for part in axis if part in name)])
        for name, value in trained.items()
    }


def _allocated(model: peft.PeftModel, config: peft.AdaLoraConfig) -> tuple[peft.PeftConfig, State]:
    """Return AdaLoRA as LoRA with the ranks it allocated; a module of rank zero has no adapter."""
    ranks: dict[str, int] = {}
    tensors: State = {}
    for name, module in model.base_model.model.named_modules():
        if not isinstance(module, peft.tuners.adalora.layer.AdaLoraLayer):
            continue
        value = module.lora_E[ADAPTER].detach()
        kept = value[:, 0].nonzero()[:, 0]
        if not len(kept):
            continue
        scale = module.scaling[ADAPTER] / (module.ranknum[ADAPTER] + _EPSILON)
        ranks[name] = len(kept)
        tensors[f"base_model.model.{name}.lora_A.weight"] = (module.lora_A[ADAPTER] * value * scale)[kept].detach()
        tensors[f"base_model.model.{name}.lora_B.weight"] = module.lora_B[ADAPTER][:, kept].detach()
    largest = max(ranks.values())
    plain = peft.LoraConfig(
        r=largest,
        lora_alpha=largest,
        lora_dropout=config.lora_dropout,
        rank_pattern=ranks,
        alpha_pattern=dict(ranks),
        target_modules=sorted(ranks),
        task_type="CAUSAL_LM",
    )
    return plain, tensors


def _prompt(config: Any) -> peft.PeftConfig:
    """Return the configuration of prompt tuning with as many tokens, which begin at random: the stored ones follow."""
    return peft.PromptTuningConfig(
        num_virtual_tokens=config.num_virtual_tokens,
        token_dim=config.token_dim,
        num_layers=config.num_layers,
        num_attention_heads=config.num_attention_heads,
        num_transformer_submodules=config.num_transformer_submodules,
        task_type="CAUSAL_LM",
    )
