"""Answers from a model: chat in, text out, many at once."""

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.progress import Meter

Message = dict[str, str]
"""`{"role": ..., "content": ...}`"""


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[list[Message]],
    *,
    max_new_tokens: int,
    temperature: float | None,
    batch_size: int,
    seed: int,
    what: str,
) -> list[str]:
    """Answer every prompt, in the order given.

    Prompts of like length share a batch, so that little is padded. Greedy when `temperature` is None; else sampled
    from the whole distribution, seeded once before the first batch.
    """
    encoded = [
        tok.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"] for prompt in prompts
    ]
    order = sorted(range(len(prompts)), key=lambda index: (len(encoded[index]), index))
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature is not None:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(seed)
    answers = [""] * len(prompts)
    meter = Meter(what, len(prompts))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = tok.pad({"input_ids": [encoded[index] for index in chosen]}, return_tensors="pt").to(model.device)
        output = model.generate(**batch, max_new_tokens=max_new_tokens, pad_token_id=tok.pad_token_id, **sampling)
        texts = tok.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text.strip()
        meter.step(len(chosen))
    meter.close()
    return answers
