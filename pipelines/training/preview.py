"""Encode training rows, and describe what is learnt from them: shares, rejected rows, and some rows with their mask.

Most failed fine-tunings are visible here: a template that labels the question, or a limit that rejects the long rows.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pipelines.curation.schema import RowKind, TrainingRow
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say, track
from pipelines.training.examples import IGNORED, Example, encode_chat

SHOWN = 3
LEARNT = ("⟦", "⟧")
"""Marks around the learnt tokens of a shown row."""
_LOGGED = 300  # characters of a row in the log


def encoded(tok: PreTrainedTokenizerBase, rows: Sequence[TrainingRow], path: Path) -> list[Example]:
    """Encode the rows of the file `path`; rehearsal rows are marked as rehearsed.

    Raises:
        UserError: the chat template rejects a row, or the row's answer cannot be learnt with it.
    """
    examples = []
    for number, row in enumerate(track(rows, "encode", len(rows)), 1):
        try:
            examples.append(encode_chat(tok, row.messages, row.kind == RowKind.REHEARSAL))
        except (TemplateError, UserError) as error:
            raise UserError(f"{path}, row {number}: the chat template fails on this row: {error}") from error
    return examples


def learnt_share(examples: Sequence[Example]) -> float:
    """Return the share of tokens that are predicted."""
    learnt = sum(label != IGNORED for each in examples for label in each.labels)
    return learnt / max(1, sum(len(each.ids) for each in examples))


def masked(tok: PreTrainedTokenizerBase, example: Example) -> str:
    """Return the text of an example with `LEARNT` around the tokens that are predicted."""
    pieces = []
    for learnt, group in groupby(zip(example.ids, example.labels, strict=True), lambda pair: pair[1] != IGNORED):
        text = tok.decode([token for token, _ in group])
        pieces.append(f"{LEARNT[0]}{text}{LEARNT[1]}" if learnt else text)
    return "".join(pieces)


def chosen(rows: Sequence[TrainingRow], count: int) -> list[int]:
    """Return the indices of `count` rows, or of all if there are fewer, of as many kinds as possible."""
    first = {row.kind: index for index, row in reversed(list(enumerate(rows)))}
    by_kind = [first[kind] for kind in RowKind if kind in first]
    return [*by_kind, *(index for index in range(len(rows)) if index not in by_kind)][:count]


def describe(
    tok: PreTrainedTokenizerBase, rows: Sequence[TrainingRow], examples: Sequence[Example], max_tokens: int
) -> str:
    """Return a Markdown page about the rows of a training, and log its facts and rows."""
    facts = [
        f"{len(rows)} rows, {sum(len(each.ids) for each in examples):,} tokens, "
        f"{learnt_share(examples):.0%} of them learnt",
        _too_long(rows, examples, max_tokens),
    ]
    page = ["# Training rows", "", *(f"- {fact}" for fact in facts)]
    page += [f"- Between {LEARNT[0]} and {LEARNT[1]}: tokens that are predicted. The others are context.", ""]
    for fact in facts:
        say(fact)
    for index in chosen(rows, SHOWN):
        text = masked(tok, examples[index])
        say(f"row {index + 1} ({rows[index].kind}): {text[:_LOGGED]!r}")
        page += [f"## Row {index + 1}: {rows[index].kind}", "", *(f"    {line}" for line in text.splitlines()), ""]
    return "\n".join(page)


def _too_long(rows: Sequence[TrainingRow], examples: Sequence[Example], max_tokens: int) -> str:
    """Describe what the limit on a row's length rejects, and the limit that would keep everything."""
    lengths = [len(each.ids) for each in examples]
    rejected = [index for index, length in enumerate(lengths) if length > max_tokens]
    if not rejected:
        return f"no row is longer than max_tokens = {max_tokens}; the longest has {max(lengths, default=0)}"
    kinds = Counter(rows[index].kind for index in rejected)
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    share = sum(lengths[index] for index in rejected) / sum(lengths)
    return (
        f"{len(rejected)} rows ({named}) are longer than max_tokens = {max_tokens} and rejected, {share:.1%} of all "
        f"tokens; max_tokens = {max(lengths)} keeps all"
    )
