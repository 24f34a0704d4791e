"""Methods of PEFT by name: their configurations, checked before a model is loaded.

Most methods of PEFT change single modules, so they work wherever the model's own forward does. Those that need more
(`REFUSED`) are refused.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from pipelines.models.tuning.config import OWN, REFUSED, REPLACED_INITS, VIRTUAL_TOKENS

LORA_PLUS = "loraplus_lr_ratio"
"""Option of `lora`: learning rate of B over that of A (LoRA+, Hayou et al. 2024, arXiv:2402.12354)."""
UNMERGEABLE = ("lily", "beft", *VIRTUAL_TOKENS)
"""Methods whose update is not one of the model's own parameters: Lily's factors are chosen by the input, and the linear
layers of recent models have no bias to add BEFT's to."""
_INITS = ("gaussian", "orthogonal", "eva", "loftq", "pissa", "olora")
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
    start = given.get("init_lora_weights")
    if isinstance(start, str) and not start.startswith(_INITS):
        raise ValueError(f"init_lora_weights is {start}; true, false, {', '.join(_INITS)} are supported")
    if isinstance(start, str) and start.startswith(REPLACED_INITS):
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
    try:
        return known(**{**defaults, **given})
    except (TypeError, ValueError) as error:
        raise ValueError(f"options of {method}: {error}") from error
