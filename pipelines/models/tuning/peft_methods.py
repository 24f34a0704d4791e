"""Methods of PEFT by name: their configurations, checked before a model is loaded.

Most methods of PEFT change single modules, so they work wherever the model's own forward does. Those that need more
(`REFUSED`) are refused.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from pipelines.models.tuning.config import (
    EVA,
    OWN,
    REFUSED,
    REFUSED_OPTIONS,
    REPLACED_INITS,
    UNSCALED,
    VIRTUAL_TOKENS,
)

LORA_PLUS = "loraplus_lr_ratio"
"""Option of `lora`: learning rate of B over that of A (LoRA+, Hayou et al. 2024, arXiv:2402.12354)."""
_INITS = ("gaussian", "orthogonal", EVA, *REPLACED_INITS)
"""Values of `init_lora_weights` of LoRA, besides true and false."""
_BESIDE_FACTORS = (*UNSCALED, "lora_bias", "target_parameters")
"""Options of LoRA with which it trains more than the two factors of linear layers."""
_OWN_TARGETS = ("ia3", "ln_tuning", "trainable_tokens")
_MANY_STEPS = 10**9


def configuration(method: str, options: Mapping[str, Any], base: str = "base") -> peft.PeftConfig:
    """Return PEFT's configuration of a method, for all linear layers but the output layer unless told otherwise.

    `base` is the directory of the model, whose tokenizer encodes an initial text of prompt tuning. AdaLoRA's
    `total_step` is set when training is planned (`pipelines/training/tuning/hooks.py`).

    An initialisation that would change the weights (`REPLACED_INITS`) is not in it (`apply.py` applies it).

    Raises:
        ValueError: PEFT has no such method, the method has no such option or refuses its value, or it cannot be trained
            here.
    """
    if method in REFUSED:
        raise ValueError(f"the method {method} is not supported, because {REFUSED[method]}")
    try:
        known = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method.upper())]
    except (KeyError, ValueError):
        methods = ", ".join(sorted({each.value.lower() for each in peft.PeftType} - REFUSED.keys()))
        raise ValueError(f"there is no method {method}; use {', '.join(OWN)} or one of PEFT's: {methods}") from None
    given = {name: value for name, value in options.items() if (method, name) != ("lora", LORA_PLUS)}
    names = {field.name for field in fields(known)} - {field.name for field in fields(peft.PeftConfig)}
    if unknown := sorted(given.keys() - names):
        raise ValueError(f"the method {method} has no option {unknown[0]}; PEFT knows {', '.join(sorted(names))}")
    numbers = {field.name for field in fields(known) if type(field.default) in (int, float)}
    for name, value in given.items():
        if name in numbers and not isinstance(value, int | float | None):
            raise ValueError(f"options of {method}: {name} is {value!r}, and must be a number")
        if value is not None and (method, name) in REFUSED_OPTIONS:
            raise ValueError(f"the method {method} takes no {name} here, because {REFUSED_OPTIONS[method, name]}")
    _check_start(method, given)
    if str(given.get("init_lora_weights")).startswith(REPLACED_INITS):
        given["init_lora_weights"] = True
    defaults: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    if "target_modules" in names and method not in _OWN_TARGETS:
        defaults["target_modules"] = "all-linear"
    if method == "adalora":
        defaults["total_step"] = _MANY_STEPS
    if method in VIRTUAL_TOKENS:
        defaults["num_virtual_tokens"] = 20
    if method == "prompt_tuning":
        defaults["tokenizer_name_or_path"] = base
    if given.get("layers_to_transform") is not None and isinstance(given.get("target_modules"), str | None):
        raise ValueError(
            f"options of {method}: layers_to_transform needs target_modules as a list of names of modules, such as "
            "[q_proj, v_proj]"
        )
    try:
        config = known(**{**defaults, **given})
    except (TypeError, ValueError) as error:
        raise ValueError(f"options of {method}: {error}") from error
    if isinstance(config, peft.AdaLoraConfig) and config.init_r <= config.target_r:
        raise ValueError(
            f"options of {method}: init_r is {config.init_r} and target_r {config.target_r}; ranks are pruned from the "
            "first to the second, so that init_r must be larger"
        )
    return config


def _check_start(method: str, options: Mapping[str, Any]) -> None:
    """Check `init_lora_weights`.

    Raises:
        ValueError: the method does not have that initialisation, or another option does not go with it.
    """
    start, known = options.get("init_lora_weights"), _INITS if method == "lora" else ()
    if not isinstance(start, str):
        return
    if not start.startswith(known):
        supported = ", ".join(("true", "false", *known))
        raise ValueError(f"init_lora_weights is {start}; {supported} are supported by {method}")
    other = [name for name in _BESIDE_FACTORS if options.get(name) not in (None, False, "none")]
    if start.startswith(REPLACED_INITS) and other:
        raise ValueError(
            f"init_lora_weights is {start}, which initialises the factors of linear layers only, and {other[0]} trains "
            f"others; remove {other[0]}, or set init_lora_weights to true"
        )
