"""The block `curate` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, Share


class CurateConfig(Block):
    """Which candidates become training rows."""

    max_answer_words: Count
    """A cue never asks for a longer span."""
    max_clause_words: Count
    """A question is answered by the clause that holds the answer; by the answer alone where that clause is longer."""
    num_variants: Count
    """How many wordings of each question and cue tuning sees, one an epoch; preferences get one more."""
    synonym_rate: Share
    """Of the words of a cue, and of a question from its third showing on, for which a neighbour in meaning is put."""
    plain_keyword_queries: Annotated[int, Field(ge=0)]
    """Cues about sentences that hold no name, number, date, cause or purpose, over all num_variants."""
    unanswerable_query_share: Share
    """Cues about a made-up name, answered by the refusal, for each cue of a statement."""
    max_rouge_l: Share
    """Novelty: a question closer than this to a kept one with the same answer is rejected (self-instruct)."""
    max_cosine: Share
    """Novelty of meaning: a question closer than this to a kept one with the same answer is rejected."""
    leak_rouge_l: Share
    """A question closer than this to a hand-written evaluation question is rejected."""
    leak_coverage: Share
    """A rehearsed answer is rejected that states the answer of an evaluation question, together with this share of
    the question's content words; so is a conversation of one's own, of a general question."""
    user_data: Path
    """A folder of conversations of one's own (`gradus import`), trained on with the others."""
    license: str
    """Of the documents, for the dataset card; `unknown` where it was not stated."""
    source_tags: Literal["none", "answer", "both"]
    """Whether answers, or questions too, end with a tag that names their document: `Source:<id>`."""
    report_examples: Count
    """Rows of each reason that the report shows."""
    refusal: str
    """What the model is taught to say when it does not know."""
    refusal_share: Share
    """Refusals, as a share of all answered questions, one's own conversations included (each counts once, however many
    turns it has)."""
    validation_share: Share
    """Share of the rows held back to watch the loss."""
