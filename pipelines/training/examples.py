"""Training examples: token ids, and labels for the tokens to predict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.models.templates.stops import document_end, turn_end
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

    If the chat template marks what is learnt (`{% generation %}`), answers are labelled only between its marks.

    Raises:
        UserError: the chat template renders an answer not behind its own prompt, or without an end of turn.
    """
    end = turn_end(tok)
    rendered, prompts = chat.render(tok, messages, generation_prompt=False), chat.render_prompts(tok, messages)
    if not all(map(rendered.startswith, prompts)):
        raise UserError(
            "The chat template does not render a conversation as its prompts and answers in turn (a chain of thought "
            "may be missing in earlier answers), so it cannot be learnt; set another template in base.chat_template."
        )
    # Tokens do not cross the start of an answer, because generation encodes the prompt alone.
    starts, spans = [len(prompt) for prompt in prompts], chat.learnt_spans(tok, messages)
    edges = sorted({*starts, *(edge for span in spans or () for edge in span if 0 < edge < len(rendered))})
    ids: list[int] = []
    labels: list[int] = []
    answering = False
    for edge, piece in zip([0, *edges], chat.encode_pieces(tok, rendered, edges), strict=True):
        if answering and edge in starts:
            raise UserError("The chat template does not end every answer with an end of turn; set base.chat_template.")
        answering |= edge in starts
        learnt = spans is None or any(start <= edge < stop for start, stop in spans)
        for token in piece:
            ids.append(token)
            labels.append(token if answering and (learnt or token == end) else IGNORED)
            answering &= token != end
    if answering:  # GLM ends an answer with the next turn's <|user|>
        ids.append(end)
        labels.append(end)
    length = 1 + max(at for at, label in enumerate(labels) if label != IGNORED)
    return Example(ids[:length], labels[:length], rehearsed)


def encode_text(tok: PreTrainedTokenizerBase, text: str, length: int) -> list[Example]:
    """Split a document into sequences of at most `length` tokens; every token is predicted.

    The document begins and ends as in pretraining: with BOS if the tokenizer adds one, and with EOS.
    """
    return encode_tokens([*chat.beginning(tok), *chat.encode_text(tok, text), *document_end(tok)], length)


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
