"""Rehearsal: what the base model says to general prompts, mixed into tuning so that it is not forgotten."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.artifacts import Row
from pipelines.generation import generate
from pipelines.synthesis.sentences import sentences


def rehearse(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[str],
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[Row]:
    """Answer each prompt with the base model, in one sentence; an answer whose first one has no end is left out.

    Rehearsing a model's own answers keeps more than other people's would (self-synthesised rehearsal, Huang et al.
    2024, arXiv:2403.01244).
    """
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    answers = generate(
        model,
        tok,
        chats,
        max_new_tokens=max_new_tokens,
        temperature=None,
        batch_size=batch_size,
        seed=seed,
        what="rehearsal",
    )
    rows = zip(prompts, (first_sentence(answer) for answer in answers), strict=True)
    return [{"prompt": prompt, "answer": answer} for prompt, answer in rows if answer]


def first_sentence(text: str) -> str:
    """Return the first whole sentence of `text`, or an empty string when there is none."""
    spans = sentences(text)
    first = text[spans[0][0] : spans[0][1]] if spans else ""
    return first if first.endswith((".", "!", "?", "。", "！", "？")) else ""
