"""Rehearsal: what the base model says to general prompts, mixed into tuning so that it is not forgotten.

Rehearsing a model's own answers keeps more than other people's would (self-synthesised rehearsal, Huang et al. 2024,
arXiv:2403.01244), and many prompts seen once keep more than few seen often, which are learnt by heart.
"""

import random
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.inference.generation import generate, respond
from pipelines.models import chat
from pipelines.runtime.progress import track
from pipelines.text.sentences import sentences

PROMPTS = "prompts.jsonl"
ANSWERS = "rehearsal.jsonl"
KEY = "rehearsal_key.json"
_ENDS = (".", "?", "!", "。", "？", "！")
_PROMPT_TOKENS = 24
_TEMPERATURE = 0.8
_MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"


def invent(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompts: list[str], count: int, batch_size: int, seed: int
) -> list[str]:
    """Have the model write `count` prompts, and return the new ones among them; each begins as one of `prompts` does.

    A chat model left to write the user's turn asks what it was tuned to answer (Magpie, Xu et al. 2024,
    arXiv:2406.08464). The beginnings keep it to what `prompts` are about, in their language.
    """
    rng = random.Random(seed)
    turn = chat.render(tok, [{"role": "user", "content": _MARK}], generation_prompt=False).split(_MARK)[0]
    opening = chat.encode(tok, turn)
    examples = [chat.encode_text(tok, prompt) for prompt in prompts]
    begun = [
        opening + example[: rng.randint(1, max(1, len(example) // 2))]
        for example in (examples[number % len(examples)] for number in range(count))
    ]
    marks = [chat.encode_text(tok, end) for end in (*_ENDS, "\n")]
    stops = [tok.eos_token_id, *(ids[0] for ids in marks if len(ids) == 1)]
    torch.manual_seed(seed)
    written = [""] * count
    answers = respond(model, tok, begun, stops, _PROMPT_TOKENS, _TEMPERATURE, batch_size)
    for index, ids in track(answers, "inventing prompts", count):
        whole = begun[index][len(opening) :] + ids
        written[index] = first_sentence(tok.decode(whole, skip_special_tokens=True).strip())
    return [prompt for prompt in dict.fromkeys(written) if prompt and prompt not in prompts]


def rehearse(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[str],
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[Row]:
    """Return each prompt with the beginning of the model's likeliest answer, at most `max_new_tokens` long."""
    answers = generate(
        model,
        tok,
        [[{"role": "user", "content": prompt}] for prompt in prompts],
        max_new_tokens=max_new_tokens,
        temperature=None,
        batch_size=batch_size,
        seed=seed,
        what="rehearsal",
    )
    return [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True) if answer]


def kept(folder: Path, key: str) -> list[Row] | None:
    """Return the answers that lie in `folder`, or None when they were made of something else than `key` tells."""
    return artifacts.read_rows(folder / ANSWERS) if artifacts.made_from(folder / KEY, key) else None


def first_sentence(text: str) -> str:
    """Return the first whole sentence of `text`, or an empty string when there is none."""
    spans = sentences(text)
    first = text[spans[0][0] : spans[0][1]] if spans else ""
    return first if first.endswith(_ENDS) else ""
