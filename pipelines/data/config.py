"""Config blocks of params.yaml for documents: `data`, `ingest`, `clean`, `dedup`, `split` and `data_report`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.block import FUNCTION, Block, Count, NonNegative, Positive, Share


class DataConfig(Block):
    """Execution backend of the document stages. It changes no result, so no stage depends on it."""

    backend: Literal["native", "ray"]
    """`native`: local processes. `ray`: a Ray cluster that can access this folder (pip install 'gradus[ray]')."""
    address: str | None
    """Address of the Ray cluster, such as ray://head:10001; null starts Ray on this machine."""


class IngestConfig(Block):
    """Limits for reading files into documents."""

    source: Path
    """Folder of documents, read recursively."""
    max_bytes: Count
    """Maximum size of a document, before or after decompression; larger ones are rejected."""
    max_seconds: Positive
    """Time limit for reading a file, plus one second per MiB; slower files are rejected."""
    max_memory_mb: Count
    """Memory limit for reading a file, in MiB; files that need more are rejected."""
    min_characters: Count
    """Minimum text length of a document; shorter ones are rejected. A Chinese or Japanese character counts twice."""
    max_rejected_share: Share
    """Maximum share of rejected files; the task fails above it."""


class QualityConfig(Block):
    """Document-level quality heuristics (Gopher, C4, FineWeb; pipelines/data/clean/quality.py); null disables a rule.

    Shares are of words or lines. The shares of n-grams, repeated lines and repeated paragraphs are of characters unless
    the description says otherwise.
    """

    min_words: NonNegative | None
    """Gopher: minimum word count (a Chinese or Japanese character counts as half a word)."""
    max_words: NonNegative | None
    """Gopher: maximum word count."""
    max_top_2gram: Share | None
    """Gopher: characters in the most frequent 2-gram."""
    max_top_3gram: Share | None
    """Gopher: characters in the most frequent 3-gram."""
    max_top_4gram: Share | None
    """Gopher: characters in the most frequent 4-gram."""
    max_repeated_5gram: Share | None
    """Gopher: characters in repeated 5-grams."""
    max_repeated_6gram: Share | None
    """Gopher: characters in repeated 6-grams."""
    max_repeated_7gram: Share | None
    """Gopher: characters in repeated 7-grams."""
    max_repeated_8gram: Share | None
    """Gopher: characters in repeated 8-grams."""
    max_repeated_9gram: Share | None
    """Gopher: characters in repeated 9-grams."""
    max_repeated_10gram: Share | None
    """Gopher: characters in repeated 10-grams."""
    max_repeated_lines: Share | None
    """Gopher: share of lines that repeat an earlier line."""
    max_repeated_line_characters: Share | None
    """Gopher, and FineWeb with 0.1: characters in repeated lines."""
    max_repeated_paragraphs: Share | None
    """Gopher: share of paragraphs that repeat an earlier paragraph."""
    max_repeated_paragraph_characters: Share | None
    """Gopher: characters in repeated paragraphs."""
    min_alphabetic: Share | None
    """Gopher: share of words with at least one letter."""
    min_mean_word: NonNegative | None
    """Gopher: minimum mean word length, in scripts that separate words."""
    max_mean_word: NonNegative | None
    """Gopher: maximum mean word length, in scripts that separate words."""
    max_word: NonNegative | None
    """C4: length of the longest word."""
    max_hashes: NonNegative | None
    """Gopher: hash signs per word."""
    max_ellipses: NonNegative | None
    """Gopher: ellipses per word."""
    max_bullet_lines: Share | None
    """Gopher: share of lines that start with a bullet."""
    max_ellipsis_lines: Share | None
    """Gopher: share of lines that end with an ellipsis."""
    min_stop_words: NonNegative | None
    """Gopher: distinct stop words; applied to English only."""
    max_lorem_ipsum: NonNegative | None
    """C4: occurrences of "lorem ipsum"."""
    max_curly_brackets: NonNegative | None
    """C4: number of curly brackets."""
    min_sentences: NonNegative | None
    """C4: number of sentences."""
    min_punctuated_lines: Share | None
    """FineWeb: share of lines that end with sentence punctuation."""
    max_short_lines: Share | None
    """FineWeb: share of lines with fewer than 30 characters."""
    max_newlines: NonNegative | None
    """FineWeb: line breaks per word."""


class CleanConfig(Block):
    """Normalization, filtering and PII masking of documents."""

    languages: list[str]
    """ISO 639-1 codes of the languages to keep; empty keeps all."""
    max_line_documents: Count
    """Llama 3's boilerplate rule: remove a line found in more documents than this (6 per 30M in the paper, scaled to
    the corpus); a sentence stays in the first of them."""
    quality: QualityConfig
    """Document-level quality heuristics."""
    c4_lines: list[Literal["javascript", "policy", "unpunctuated", "few_words"]]
    """Enabled line rules of C4 (pipelines/data/clean/c4.py); matching lines are removed."""
    max_kl: Positive
    """Maximum KL divergence, in nats, of a document's letter distribution from the corpus's; documents above it are
    dropped."""
    pii_action: Literal["mask", "drop", "keep"]
    """Action on PII: mask it in place, drop the document, or keep it."""
    pii_types: list[Literal["email", "phone", "ip", "card", "iban", "national_id"]]
    """Types of PII to detect."""
    custom_filter: Annotated[str, Field(pattern=FUNCTION)] | None
    """User-provided filter, `package.module:function`: takes a text and returns a reason to drop it, or None. Use it
    for properties that the built-in rules cannot detect, such as toxicity."""


class SemanticConfig(Block):
    """Semantic deduplication by document embeddings (SemDeDup)."""

    model: str
    """Static embeddings (model2vec): `hf:ORG/NAME@REVISION`, or a folder."""
    similarity: Share
    """Minimum cosine similarity of two semantic duplicates."""


class DedupConfig(Block):
    """Deduplication: when documents are duplicates, and which one of a cluster is kept."""

    shingle: Count
    """Words per shingle (characters where words are not separated by spaces)."""
    similarity: Share
    """Minimum exact Jaccard similarity of a duplicate pair; every MinHash candidate is verified against it."""
    recall: Share
    """Probability that MinHash LSH makes a pair of that similarity a candidate; bands and rows follow from it."""
    hashes: Count
    """Maximum number of hashes per MinHash signature. More hashes find less similar pairs, or more pairs, and take
    longer."""
    keep: Literal["longest", "newest"]
    """Which document of a cluster is kept; `newest` prefers the latest date and breaks ties by length."""
    prefer: list[str]
    """Prefixes of `source` in order of preference; a matching document is kept before all others."""
    semantic: SemanticConfig | None
    """Semantic deduplication; null disables it."""
    passages: Literal["paragraph", "line"] | None
    """Unit of passage deduplication: passages that occur in an earlier document are removed; null disables it."""
    passage_words: Count
    """Minimum number of words of a repeated passage; shorter ones are kept."""


class DecontaminateConfig(Block):
    """Decontamination: n-gram overlap between training and evaluation data."""

    against: Path
    """Folder of evaluation sets: JSONL files with a question, prompt, instruction or text in each row."""
    words: Annotated[int, Field(ge=3)]
    """Minimum length of a reported overlap, in consecutive words; a shorter question must match entirely."""
    share: Share
    """Minimum share of a question, or of a document, that an overlap must cover to count as a leak."""
    held_out_words: Annotated[int, Field(ge=20)]
    """Minimum number of consecutive words shared by a held-out document and training that count as a leak."""
    action: Literal["cut", "report"]
    """`cut` removes the leaking paragraph: from training if it contains a question, else from the held-out document."""


class SplitConfig(Block):
    """Text held out to measure bits per byte."""

    validation_share: Share
    """Share of documents held out for tuning decisions; share of the text if no whole documents are available."""
    test_share: Share
    """Share of documents (or of the text) held out for the final report."""
    section_characters: Count
    """Maximum length of a held-out section. Sections that no question needs are held out where questions ask about too
    many documents or a document is too long; longer sections have more context, shorter ones spread more evenly."""
    questions: Path
    """Hand-written questions; the passages they ask about are kept in training."""
    decontaminate: DecontaminateConfig
    """Overlap with the evaluation sets and the held-out text."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "SplitConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on; they must sum to less than 1")
        return self


class DataReportConfig(Block):
    """Number of examples in the data report."""

    examples: Count
    """Examples per rule."""
    clusters: Count
    """Number of duplicate clusters shown, largest first."""
    edited: Count
    """Number of edited documents shown before and after cleaning."""
