"""Training examples: token ids, and labels for the tokens to predict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError

IGNORED = -100
"""Label of a token that is not predicted (PyTorch's cross entropy ignores it)."""


@dataclass(frozen=True)
class Example:
    """One training sequence; `ids` and `labels` have the same length.

    For a `rehearsed` example the targets are the base model's distributions at its labelled tokens, not the tokens.
    """

    ids: list[int]
    labels: list[int]
    rehearsed: bool = False
    positions: list[int] | None = None
    """Position of each token within its own text, if several texts are packed into one sequence."""


def encode_chat(tok: PreTrainedTokenizerBase, messages: Sequence[Message], rehearsed: bool = False) -> Example:
    """Encode a conversation that ends with an assistant message; answers and their end-of-turn tokens are labelled.

    Raises:
        UserError: the chat template does not end an answer with the end-of-turn token, so it cannot be learned.
    """
    rendered = chat.render(tok, messages, generation_prompt=False)
    turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    prompts = [chat.render(tok, messages[:turn], generation_prompt=True) for turn in turns]
    # Tokens do not cross the start of an answer, because generation encodes the prompt alone.
    prompt, *answers = chat.encode_pieces(tok, rendered, [len(text) for text in prompts])
    if not all(map(rendered.startswith, prompts)) or any(tok.eos_token_id not in answer for answer in answers):
        raise UserError(
            "The chat template does not lead from prompt to end of turn; set another template in base.chat_template."
        )
    ids = [*prompt, *(token for answer in answers for token in answer)]
    labels = [IGNORED] * len(prompt) + [label for answer in answers for label in _labels(answer, tok.eos_token_id)]
    length = 1 + max(at for at, label in enumerate(labels) if label != IGNORED)
    return Example(ids[:length], labels[:length], rehearsed)


def _labels(answer: Sequence[int], end_of_turn: int) -> list[int]:
    """Return the labels of an answer and the text up to the next one; labels after its end of turn are ignored."""
    length = answer.index(end_of_turn) + 1
    return [*answer[:length], *[IGNORED] * (len(answer) - length)]


def encode_text(tok: PreTrainedTokenizerBase, text: str, length: int) -> list[Example]:
    """Split a text into sequences of at most `length` tokens; every token is predicted."""
    return encode_tokens(chat.encode_text(tok, text), length)


def encode_tokens(ids: Sequence[int], length: int) -> list[Example]:
    """Split the tokens of a text into sequences of at most `length`; every token is predicted."""
    pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
    return [Example(list(piece), list(piece)) for piece in pieces if len(piece) > 1]


def plan_batches(
    lengths: Sequence[int], weights: Sequence[float], epochs: int, batch_tokens: int, seed: int
) -> list[list[int]]:
    """Return the row indices of every batch of a training, deterministically from the arguments.

    In each epoch row i appears `weights[i]` times in expectation: the integer part always, the fraction at random. Rows
    of similar length share a batch of at most `batch_tokens` tokens including padding; the batches are then shuffled.
    """
    rng = np.random.default_rng(seed)
    plan: list[list[int]] = []
    for _ in range(epochs):
        counts = np.floor(np.asarray(weights) + rng.random(len(weights))).astype(int)
        rows = rng.permutation(np.repeat(np.arange(len(lengths)), counts))
        rows = rows[np.argsort([lengths[row] // 8 for row in rows], kind="stable")]
        batches = fill([int(row) for row in rows], lengths, batch_tokens)
        plan += [batches[index] for index in rng.permutation(len(batches))]
    return plan


def fill(rows: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Split `rows` into batches of at most `batch_tokens` tokens, padded to the longest row."""
    batches: list[list[int]] = []
    longest = 0
    for row in rows:
        longest = max(longest, lengths[row])
        if batches and longest * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
            longest = lengths[row]
    return batches
