"""The block `synthesize` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, NonNegative, Positive, Share


class SynthesizeConfig(Block):
    """How passages become questions."""

    prompts: Path
    """The folder of prompt files: a recipe each, the reader and the judge."""
    recipes: dict[str, NonNegative]
    """Which recipes are asked, and about which share of what each is about: windows, pairs of windows, kept questions
    or seed tasks; one that asks about spans gets that share of `max_questions`. None: no question is written."""
    tasks: Path
    """Hand-written tasks with solutions, from which recipes that invent tasks begin."""
    window_tokens: Count
    """Length of the sliding window the teacher sees."""
    overlap_tokens: Annotated[int, Field(ge=0)]
    """How much of a window the next one repeats."""
    kinds: list[Literal["name", "date", "number", "cause", "purpose", "condition", "definition"]]
    """Of spans that are asked for."""
    spans_per_sentence: Count
    """At most this many answer spans of one sentence are asked for."""
    max_span_words: Count
    """A longer span is not asked for."""
    max_questions: Count
    """Questions written about spans: the best span of every sentence first, then of those without a kept question the
    next best, then others of those with one, until this many."""
    attempts: Count
    """Questions asked for one span while its sentence has none: the first greedy, the others sampled."""
    temperature: Positive
    """Of the sampled attempts, of consistency and of invented tasks."""
    max_answer_words: Count
    """A question whose short answer is longer is rejected."""
    min_writer_probability: Share
    """A question is rejected when the writer gave one of its tokens a lower probability; 0 lets all pass. Servers
    do not tell theirs, nor do local models on a GPU that of sampled answers."""
    min_ungrounded_probability: Share
    """The same of a question with a name that its sentence does not have: taken from the title, or made up."""
    min_reader_probability: Share
    """Likewise the reader and its answer, where that is not the very span that was asked for."""
    min_reader_f1: Share
    """Round trip: a question counts when the reader answers with words of the sentence it was written about, or with at
    least this token F1 to the span."""
    consistency_samples: Annotated[int, Field(ge=0)]
    """Answers that the reader is made to sample besides; 0 asks for none."""
    min_consistency: Share
    """Share of them that must agree with the answer."""
    max_similarity: Share
    """An invented task closer than this (ROUGE-L) to one of the pool is rejected."""
    unanswerable_share: Share
    """Unanswerable questions written, as a share of the answerable ones: kept ones and one's own conversations."""
    out_of_domain: Path
    """Questions nobody could answer, hand-written: refusals for what the corpus has nothing to do with."""
    rehearsal: Path
    """A folder with prompts.jsonl, general prompts: what the base model says to them is rehearsed, so that it does not
    forget. What it said in an earlier run may lie beside them, and is taken while its key says that it still would."""
    rehearsal_generated: Annotated[int, Field(ge=0)]
    """Prompts that the base model is made to write besides, begun like those of the file."""
    rehearsal_tokens: Count
    """How much of its answer to a prompt is rehearsed."""
    batch_size: Count
    """Prompts generated at once."""
