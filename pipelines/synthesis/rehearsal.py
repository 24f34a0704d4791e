"""Self-synthesised rehearsal: the base model's answers to general prompts, mixed into fine-tuning against forgetting.

Rehearsing the model's own answers preserves more than answers from other sources (Huang et al. 2024,
arXiv:2403.01244), and many prompts seen once preserve more than few seen often, which are memorised.
"""

import random
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.inference.generation import generate, respond
from pipelines.models import chat
from pipelines.models.templates.stops import stop_ids
from pipelines.runtime.progress import track
from pipelines.text.sentences import CLOSING_MARKS, sentences

PROMPTS = "prompts.jsonl"
ANSWERS = "rehearsal.jsonl"
KEY = "rehearsal_key.json"
_ENDS = (".", "?", "!", "。", "？", "！")
_PROMPT_TOKENS = 24
_TEMPERATURE = 0.8


def invent(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, prompts: list[str], count: int, batch_size: int, seed: int
) -> list[str]:
    """Generate `count` prompts with the model and return the new ones; each begins as one of `prompts` does.

    A chat model that continues an empty user turn generates prompts of its tuning data (Magpie, Xu et al. 2024,
    arXiv:2406.08464). The beginnings keep them to the topics and the language of `prompts`.
    """
    rng = random.Random(seed)
    turn = chat.render(tok, [{"role": "user", "content": chat.PLACEHOLDER}], generation_prompt=False)
    prefix = chat.encode(tok, turn.split(chat.PLACEHOLDER)[0])
    examples = [chat.encode_text(tok, prompt) for prompt in prompts]
    begun = [
        prefix + example[: rng.randint(1, max(1, len(example) // 2))]
        for example in (examples[number % len(examples)] for number in range(count))
    ]
    marks = [chat.encode_text(tok, end) for end in (*_ENDS, "\n")]
    stops = [*stop_ids(model, tok), *(ids[0] for ids in marks if len(ids) == 1)]
    torch.manual_seed(seed)
    written = [""] * count
    answers = respond(model, tok, begun, stops, _PROMPT_TOKENS, _TEMPERATURE, batch_size)
    for index, ids in track(answers, "generating prompts", count):
        prompt_ids = begun[index][len(prefix) :] + ids
        written[index] = first_sentence(tok.decode(prompt_ids, skip_special_tokens=True).strip())
    return [prompt for prompt in dict.fromkeys(written) if prompt and prompt not in prompts]


def rehearse(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[str],
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[Row]:
    """Return each prompt with the model's greedy answer, truncated to `max_new_tokens`; empty answers are left out."""
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


def stored_answers(folder: Path, key: str) -> list[Row] | None:
    """Return the answers stored in `folder`, or None if their key is not `key`."""
    return artifacts.read_rows(folder / ANSWERS) if artifacts.made_from(folder / KEY, key) else None


def first_sentence(text: str) -> str:
    """Return the first complete sentence of `text`, or an empty string if there is none."""
    spans = sentences(text)
    first = text[spans[0][0] : spans[0][1]] if spans else ""
    return first if first.rstrip(CLOSING_MARKS).endswith(_ENDS) else ""
