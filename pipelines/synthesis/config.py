"""The block `synthesize` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, NonNegative, Positive, Share


class SynthesizeConfig(Block):
    """How questions are generated from passages, and which are rejected."""

    prompts: Path
    """Folder of prompt templates: one per recipe, and those of the reader and the judge."""
    recipes: dict[str, NonNegative]
    """Recipes (prompt templates) by name, each with the share of its inputs that it is applied to: windows, pairs of
    windows, kept questions or seed tasks; recipes about spans get a share of `max_questions`. Empty: no question is
    generated."""
    tasks: Path
    """Hand-written tasks with solutions, the seeds of self-instruct."""
    window_tokens: Count
    """Length of the sliding window in the teacher's prompt, in tokens."""
    overlap_tokens: Annotated[int, Field(ge=0)]
    """Overlap of neighbouring windows, in tokens."""
    kinds: list[Literal["name", "date", "number", "cause", "purpose", "condition", "definition"]]
    """Kinds of answer spans that questions are generated for."""
    spans_per_sentence: Count
    """Maximum number of answer spans of one sentence."""
    max_span_words: Count
    """Maximum length of an answer span, in words."""
    max_questions: Count
    """Budget of questions about spans: the best span of every sentence first, then the next best span of sentences
    without a kept question, then further spans of covered sentences."""
    attempts: Count
    """Attempts per span while its sentence has no kept question; the first is greedy, the others are sampled."""
    temperature: Positive
    """Sampling temperature of further attempts, self-consistency and self-instruct."""
    max_answer_words: Count
    """Maximum length of a short answer, in words; questions with longer ones are rejected."""
    min_writer_probability: Share
    """Minimum token probability of a question under its writer; 0 disables the check. Servers report no probabilities,
    nor do local models on a GPU for sampled answers; such questions pass."""
    min_ungrounded_probability: Share
    """Minimum token probability of a question with a name that is not in its sentence (from the title, or invented)."""
    min_reader_probability: Share
    """Minimum token probability of the reader's answer, unless it equals the answer span."""
    min_reader_f1: Share
    """Minimum token F1 of the reader's answer to the answer span (round trip); an answer that is another span of the
    same sentence also passes."""
    consistency_samples: Annotated[int, Field(ge=0)]
    """Sampled answers per question for self-consistency; 0 disables the check."""
    min_consistency: Share
    """Minimum share of the sampled answers that agree with the answer."""
    max_similarity: Share
    """Maximum ROUGE-L of a generated task to the tasks of the pool (self-instruct)."""
    unanswerable_share: Share
    """Unanswerable questions, as a share of the answerable ones: kept questions and the user's conversations."""
    out_of_domain: Path
    """Hand-written questions that the corpus cannot answer, on unrelated topics; they are answered by the refusal."""
    rehearsal: Path
    """Folder with prompts.jsonl, general prompts. The base model's answers to them are rehearsed against forgetting.
    The folder may also contain answers of an earlier run; they are used while their key matches."""
    rehearsal_generated: Annotated[int, Field(ge=0)]
    """Further prompts that the base model generates; each begins as a prompt of the file does."""
    rehearsal_tokens: Count
    """Maximum length of a rehearsed answer, in tokens."""
    batch_size: Count
    """Prompts in one generation batch."""
