"""The block `curate` of params.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.block import Block, Count, Share


class CurateConfig(Block):
    """How candidates are selected and turned into training rows."""

    max_answer_words: Count
    """Maximum length of the answer span of a keyword query, in words."""
    max_clause_words: Count
    """Maximum length of the clause that answers a question, in words; if it is longer, the answer span is used."""
    num_variants: Count
    """Variants of each question and keyword query in fine-tuning, one per epoch; preferences get a further one."""
    synonym_rate: Share
    """Fraction of content words replaced by an embedding neighbour (synonym replacement), in keyword queries and from
    the third variant of a question on."""
    min_synonym_cosine: Annotated[float, Field(ge=-1, le=1)]
    """Minimum cosine of the mean-centred embeddings of two synonyms."""
    word_dropout: Share
    """Fraction of a question's words dropped in every second variant (word dropout)."""
    keyword_rate: Share
    """Fraction of a sentence's content words kept in a keyword query."""
    plain_keyword_queries: Annotated[int, Field(ge=0)]
    """Maximum number of keyword queries, over all variants, about sentences without a name, number, date, cause or
    purpose."""
    max_keyword_queries: Annotated[int, Field(ge=0)] | None
    """Maximum number of keyword queries with an answer, over all variants; None: all."""
    unanswerable_query_share: Share
    """Share of keyword queries repeated with an invented name and answered by the refusal."""
    max_rouge_l: Share
    """Maximum ROUGE-L of a question to kept questions with the same answer (self-instruct's novelty filter)."""
    max_cosine: Share
    """Maximum cosine of a question's embedding to those of kept questions with the same answer."""
    leak_rouge_l: Share
    """Maximum ROUGE-L of a question to the evaluation questions."""
    leak_coverage: Share
    """Share of an evaluation question's content words from which a text that also states its answer is a leak. Checked
    in rehearsed answers and, for general questions, in the user's conversations."""
    user_data: Path
    """Folder of the user's conversations (`gradus import`), which are added to the training rows."""
    license: str
    """Licence of the documents, for the dataset card; `unknown` if it was not stated."""
    source_tags: Literal["none", "answer", "both"]
    """Whether answers (`answer`), or questions as well (`both`), end with a tag that names their document:
    `Source:<id>`."""
    report_examples: Count
    """Example rows per rejection reason in the report."""
    refusal: str
    """Answer to unanswerable questions."""
    refusal_share: Share
    """Refusals, as a share of all answered questions; each of the user's conversations counts as one question,
    regardless of its turns."""
    validation_share: Share
    """Share of the rows held out for the validation loss."""
    calibration_share: Share
    """Share of the facts with questions, and of the unanswerable questions, held back for evaluation and calibration
    while the user has too few evaluation questions."""
    calibration_questions: Count
    """The user's answerable validation questions from which on none is held back for calibration."""
