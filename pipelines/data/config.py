"""The blocks of params.yaml about documents: `data`, `ingest`, `clean`, `dedup`, `split` and `data_report`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.block import Block, Count, NonNegative, Positive, Share


class DataConfig(Block):
    """Who carries the work on documents. Changes no result, so no stage depends on it."""

    backend: Literal["native", "ray"]
    """`native`: this machine's processes. `ray`: a cluster that sees this folder (pip install 'gradus[ray]')."""
    address: str | None
    """Of the cluster, such as ray://head:10001; null starts Ray on this machine."""


class IngestConfig(Block):
    """From files to documents."""

    source: Path
    """The folder of documents; every file below it is read."""
    max_bytes: Count
    """A larger document is rejected, packed or not."""
    max_seconds: Positive
    """A file that takes longer to read is rejected; a large one is given a second more for every MiB."""
    max_memory_mb: Count
    """A file that takes more memory to read is rejected."""
    min_characters: Count
    """A document with less text is rejected."""
    max_rejected_share: Share
    """The task fails when more than this share of the files is rejected."""


class QualityConfig(Block):
    """Heuristics on whole documents (Gopher, C4, FineWeb; pipelines/data/clean/quality.py); null switches one off.

    Shares of words and lines; those of runs of words (n-grams), repeated lines and paragraphs are of the characters
    unless the name says otherwise.
    """

    min_words: NonNegative | None
    """Gopher (a character of Chinese or Japanese is half a word)."""
    max_words: NonNegative | None
    """Gopher."""
    max_top_2gram: Share | None
    """Gopher: in the most frequent run of 2 words."""
    max_top_3gram: Share | None
    """Gopher: of 3 words."""
    max_top_4gram: Share | None
    """Gopher: of 4 words."""
    max_repeated_5gram: Share | None
    """Gopher: in runs of 5 words seen before."""
    max_repeated_6gram: Share | None
    """Gopher: of 6 words."""
    max_repeated_7gram: Share | None
    """Gopher: of 7 words."""
    max_repeated_8gram: Share | None
    """Gopher: of 8 words."""
    max_repeated_9gram: Share | None
    """Gopher: of 9 words."""
    max_repeated_10gram: Share | None
    """Gopher: of 10 words."""
    max_repeated_lines: Share | None
    """Gopher: share of the lines seen before."""
    max_repeated_line_characters: Share | None
    """Gopher, and FineWeb with 0.1: in such lines."""
    max_repeated_paragraphs: Share | None
    """Gopher: share of the paragraphs seen before."""
    max_repeated_paragraph_characters: Share | None
    """Gopher: in such paragraphs."""
    min_alphabetic: Share | None
    """Gopher: share of words with at least one letter."""
    min_mean_word: NonNegative | None
    """Gopher: mean characters a word, where words are separated."""
    max_mean_word: NonNegative | None
    """Gopher: the same."""
    max_word: NonNegative | None
    """C4: characters of the longest word."""
    max_hashes: NonNegative | None
    """Gopher: hashes a word."""
    max_ellipses: NonNegative | None
    """Gopher: ellipses a word."""
    max_bullet_lines: Share | None
    """Gopher: share of lines that are bullets."""
    max_ellipsis_lines: Share | None
    """Gopher: share of lines that end in an ellipsis."""
    min_stop_words: NonNegative | None
    """Gopher: different stop words; asked of English only."""
    max_lorem_ipsum: NonNegative | None
    """C4: times that lorem ipsum stands there."""
    max_curly_brackets: NonNegative | None
    """C4: curly brackets."""
    min_sentences: NonNegative | None
    """C4: sentences."""
    min_punctuated_lines: Share | None
    """FineWeb: share of lines that end a sentence."""
    max_short_lines: Share | None
    """FineWeb: share of lines of less than 30 characters."""
    max_newlines: NonNegative | None
    """FineWeb: line breaks a word."""


class CleanConfig(Block):
    """What is thrown away or mended in a document."""

    languages: list[str]
    """ISO 639-1 codes of the languages to keep; empty keeps all."""
    max_line_documents: Count
    """Llama 3's rule: a line found in more documents than this is removed (6 per 30M there, scaled to the corpus)."""
    quality: QualityConfig
    """What a text looks like from outside."""
    c4_lines: list[Literal["javascript", "policy", "unpunctuated", "few_words"]]
    """C4's rules for lines (pipelines/data/clean/c4.py) that are in force: such lines are removed."""
    max_kl: Positive
    """A document whose distribution of letters is further than this from the corpus's (KL, nats) is dropped."""
    pii_action: Literal["mask", "drop", "keep"]
    """What happens to personal data: masked in place, document dropped, or left."""
    pii_types: list[Literal["email", "phone", "ip", "card", "iban", "national_id"]]
    """What counts as personal data."""
    custom_filter: str | None
    """`package.module:function`, which is given each text and returns a reason to drop it, or None; for what no rule
    here can tell, such as toxicity."""


class SemanticConfig(Block):
    """Which documents say the same in other words."""

    model: str
    """Static embeddings (model2vec): `hf:ORG/NAME@REVISION`, or a folder."""
    similarity: Share
    """Cosine from which two documents say the same."""


class DedupConfig(Block):
    """Which documents count as the same, and which of them stays."""

    shingle: Count
    """Words per shingle (characters where words are not separated by spaces)."""
    similarity: Share
    """A candidate pair is a duplicate when its true Jaccard similarity reaches this."""
    recall: Share
    """Probability with which MinHash makes a pair of that similarity a candidate; bands and rows follow from it."""
    hashes: Count
    """Of a signature, at most; more find less similar pairs, or more of them, and take longer."""
    keep: Literal["longest", "newest"]
    """Which of a cluster stays; `newest` by its date, and of equally old ones the longest."""
    prefer: list[str]
    """Beginnings of `source`: a document of the first one stays before all others, then of the second, …"""
    semantic: SemanticConfig | None
    """Documents of one meaning are duplicates, too; null compares no meanings."""
    passages: Literal["paragraph", "line"] | None
    """Passages that an earlier document has already are removed; null leaves them."""
    passage_words: Count
    """A shorter passage is no repetition."""


class DecontaminateConfig(Block):
    """What training may not share with what models are measured on."""

    against: Path
    """A folder of evaluation sets: JSONL files with a question, prompt, instruction or text in each row."""
    words: Annotated[int, Field(ge=3)]
    """Words in a row that make an overlap, which is reported; of a shorter question, all."""
    share: Share
    """An overlap that covers this much of a question, or of a document, is a leak."""
    held_out_words: Annotated[int, Field(ge=20)]
    """So many words in a row that a held-out document shares with training are a leak."""
    action: Literal["cut", "report"]
    """`cut`: the paragraph goes, from training where it holds a question, else from the held-out document."""


class SplitConfig(Block):
    """Which text is held out to measure bits per byte."""

    validation_share: Share
    """Share of documents held out for tuning decisions; of the text, where no whole documents are free."""
    test_share: Share
    """The same for the report."""
    section_characters: Count
    """Where questions ask about too many documents, or a document is too long, sections of at most so many characters
    that no question needs are held out; longer ones have more context, shorter ones are spread more evenly."""
    questions: Path
    """Hand-written questions; what they ask about stays in training."""
    decontaminate: DecontaminateConfig
    """What must not be trained on."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "SplitConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on; they must sum to less than 1")
        return self


class DataReportConfig(Block):
    """How much the page about the documents shows."""

    examples: Count
    """Of each rule."""
    clusters: Count
    """The largest clusters of duplicates."""
    edited: Count
    """Documents before and after."""
