"""What params.yaml may say: types, meaning, limits. It holds no values: those live in params.yaml alone.

Every key is required and an unknown one is refused, so that no result depends on a default hidden here.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipelines.runtime.errors import UserError
from pipelines.user_files import read_yaml

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


class Block(BaseModel):
    """A block of params.yaml: frozen, strict, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ComputeConfig(Block):
    """How every model runs. All of it can change a result's last digits, so all of it is a parameter."""

    seed: Annotated[int, Field(ge=0)]
    """Seeds Python, NumPy and torch before any adapter is created."""
    threads: Count
    """CPU threads of one task. Another number changes floating-point results."""
    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes the GPU where there is one."""
    precision: Literal["auto", "bf16", "fp32"]
    """Of matrix products (autocast); `auto` is bf16 where the processor has instructions for it. Adapters and optimiser
    states are always float32."""


class DataConfig(Block):
    """Who carries the work on documents. Changes no result, so no stage depends on it."""

    runner: Literal["native", "ray"]
    """`native`: this machine's processes. `ray`: a cluster that sees this folder (pip install 'gradus[ray]')."""
    address: str | None
    """Of the cluster, such as ray://head:10001; null starts Ray on this machine."""


class BaseModelConfig(Block):
    """The open model everything starts from."""

    model: str
    """`package:NAME` (a GGUF file in an installed package), `hf:ORG/NAME@REVISION`, or a path."""
    chat_template: Path | None
    """A Jinja file in place of the model's own template; null keeps the model's own."""
    quantization: Literal["none", "nf4", "int8"]
    """How frozen weights are held while adapters train (QLoRA with `nf4`)."""
    trust_remote_code: bool
    """Whether code that comes with a model may run. Off unless you have read that code."""


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
    repeated_line_documents: Count
    """Llama 3's rule: a line found in more documents than this is removed (6 per 30M there, scaled to the corpus)."""
    quality: QualityConfig
    """What a text looks like from outside."""
    c4_lines: list[Literal["javascript", "policy", "unpunctuated", "few_words"]]
    """C4's rules for lines (pipelines/data/clean/c4.py) that are in force: such lines are removed."""
    max_kl: Positive
    """A document whose distribution of letters is further than this from the corpus's (KL, nats) is dropped."""
    personal_data: Literal["mask", "drop", "keep"]
    """What happens to personal data: masked in place, document dropped, or left."""
    personal_rules: list[Literal["email", "phone", "ip", "card", "iban", "national_id"]]
    """What counts as personal data."""
    judge: str | None
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


class LoraConfig(Block):
    """Low-rank adapters (Hu et al. 2021)."""

    rank: Count
    """Rank of the update; more learns more and forgets more."""
    alpha: Positive
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """On the adapter's input."""


class SchooledModel(Block):
    """The base model, schooled on the seeds: small, and only for asking about spans and reading them back."""

    kind: Literal["schooled"]
    """Which of the three it is."""


class LocalModel(Block):
    """A model that follows instructions, as it is."""

    kind: Literal["local"]
    """Which of the three it is."""
    model: str
    """`package:NAME`, `hf:ORG/NAME@REVISION`, or a path."""


class PriceBlock(Block):
    """What a server takes for a million tokens."""

    prompt: NonNegative
    """Of what it is asked."""
    completion: NonNegative
    """Of what it answers."""

    def cost(self, prompt: float, completion: float) -> float:
        """Return the cost of so many tokens."""
        return (prompt * self.prompt + completion * self.completion) / 1e6


class ServedModel(Block):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["openai"]
    """Which of the three it is."""
    url: str
    """The server's address, such as http://127.0.0.1:8000/v1."""
    model: str
    """The server's name for the model."""
    revision: str | None
    """Of the model, where the name alone does not tell; another one is asked everything anew."""
    key: str | None
    """The environment variable that holds the server's key; null for a server without one."""
    at_once: Count
    """Calls under way at once."""
    timeout_s: Positive
    """A call that takes longer is tried again."""
    context_tokens: Count | None
    """How much prompt and answer it can take together; null leaves it to the server to refuse."""
    structured: Literal["json_schema", "json_object", "none"]
    """How the server can be made to answer in JSON."""
    price: PriceBlock | None
    """For the cost and the budget; null where there is none."""
    extra_body: dict[str, Any]
    """Merged into the body of every request: {chat_template_kwargs: {enable_thinking: false}}, {max_tokens: 4096}. Null
    leaves a field out; {} merges nothing."""

    @field_validator("extra_body")
    @classmethod
    def _mergeable(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(value.keys() & {"model", "messages", "stream", "n"}):
            raise ValueError(f"{taken[0]} is not for extra_body to change")
        for name in ("max_tokens", "max_completion_tokens"):
            if name in value and (type(value[name]) is not int or value[name] < 1):
                raise ValueError(f"{name} is a count of tokens, at least 1")
        return value


class RolesBlock(Block):
    """Who of the models does what."""

    writer: str | None
    """Writes questions, answers and tasks; null has none written, as for training on one's own conversations alone."""
    reader: str | None
    """Reads questions back: must answer them from the passage. Without one, no name of the documents is put into an
    unanswerable question, since nobody could say that they do not answer it."""
    judge: str | None
    """Says whether the passage supports an answer; null leaves that out."""


class TeacherConfig(Block):
    """Who writes the questions, who reads them, who judges."""

    models: dict[str, Annotated[SchooledModel | LocalModel | ServedModel, Field(discriminator="kind")]]
    """By a name of one's own."""
    roles: RolesBlock
    """Names of `models`."""
    budget: Positive | None
    """What one run may spend on served calls, in the currency of the prices; null is without limit."""
    seeds: Path
    """Hand-written passages with questions and answers, and questions without, that school the schooled model."""
    adapter: Path | None
    """A committed adapter, used instead of training when it was trained from the same inputs; null always trains."""
    lora: LoraConfig
    """The teacher's adapter."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the seeds."""
    batch_tokens: Count
    """Tokens in one optimiser step."""

    @model_validator(mode="after")
    def _whole(self) -> "TeacherConfig":
        for role, name in self.roles:
            if name is not None and name not in self.models:
                raise ValueError(f"roles.{role} names {name!r}, which is not among models")
        if self.roles.writer is not None and self.roles.reader is None:
            raise ValueError("roles.writer writes questions, and roles.reader is null, so that nobody checks them")
        unpriced = [name for name, model in self.models.items() if model.kind == "openai" and model.price is None]
        if self.budget is not None and unpriced:
            raise ValueError(f"there is a budget, but models.{unpriced[0]} has no price to hold it against")
        return self

    @property
    def schooled(self) -> bool:
        """Whether any role is the schooled model's."""
        return any(name is not None and self.models[name].kind == "schooled" for _, name in self.roles)


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
    min_writer_certainty: Share
    """A question is rejected when the writer gave one of its tokens a lower probability; 0 lets all pass. Servers
    do not tell theirs, nor do local models on a GPU that of sampled answers."""
    min_ungrounded_certainty: Share
    """The same of a question with a name that its sentence does not have: taken from the title, or made up."""
    min_reader_certainty: Share
    """Likewise the reader and its answer, where that is not the very span that was asked for."""
    min_reader_f1: Share
    """Round trip: a question counts when the reader answers with words of the sentence it was written about, or with at
    least this token F1 to the span."""
    consistency_samples: Annotated[int, Field(ge=0)]
    """Answers that the reader is made to sample besides; 0 asks for none."""
    min_consistency: Share
    """Share of them that must agree with the answer."""
    max_alike: Share
    """An invented task closer than this (ROUGE-L) to one of the pool is rejected."""
    unanswerable_share: Share
    """Unanswerable questions written, as a share of the answerable ones: kept ones and one's own conversations."""
    out_of_domain: Path
    """Questions nobody could answer, hand-written: refusals for what the corpus has nothing to do with."""
    rehearsal: Path
    """A folder with prompts.jsonl, general prompts: what the base model says to them is rehearsed, so that it does not
    forget. What it said in an earlier run may lie beside them, and is taken while its key says that it still would."""
    rehearsal_invented: Annotated[int, Field(ge=0)]
    """Prompts that the base model is made to write besides, begun like those of the file."""
    rehearsal_tokens: Count
    """How much of its answer to a prompt is rehearsed."""
    batch_size: Count
    """Prompts generated at once."""


class CurateConfig(Block):
    """Which candidates become training rows."""

    max_answer_words: Count
    """A cue never asks for a longer span."""
    max_clause_words: Count
    """A question is answered by the clause that holds the answer; by the answer alone where that clause is longer."""
    showings: Count
    """How many wordings of each question and cue tuning sees, one an epoch; preferences get one more."""
    swapped_share: Share
    """Of the words of a cue, and of a question from its third showing on, for which a neighbour in meaning is put."""
    plain_cues: Annotated[int, Field(ge=0)]
    """Cues about sentences that hold no name, number, date, cause or purpose, over all showings."""
    unknown_cue_share: Share
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
    own: Path
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


class PretrainConfig(Block):
    """Continued pre-training on raw text: what the field does first, and what alone teaches no answers."""

    lora: LoraConfig
    """The adapter; merged into the weights when done."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the text."""
    batch_tokens: Count
    """Tokens in one optimiser step."""
    block_tokens: Count
    """Length of one training sequence."""
    packing: bool
    """Whether several texts share a sequence, kept apart; without it each has its own, and padding."""
    mixture: Path
    """A folder of other texts: each .jsonl, .parquet or .txt file is a source, named after it."""
    weights: dict[str, NonNegative]
    """Of how many times its texts an epoch reads each source, none again before all; `corpus` is the documents."""
    fill_in_middle: dict[str, Share]
    """Of a source of code, the share of texts that is read with its middle last."""


class SFTConfig(Block):
    """Supervised fine-tuning on questions and answers."""

    start: Literal["base", "pretrain"]
    """Whose weights it starts from."""
    lora: LoraConfig
    """The adapter."""
    learning_rate: LearningRate
    """Peak, after a linear warm-up."""
    epochs: Count
    """Passes over the rows."""
    batch_tokens: Count
    """Tokens in one optimiser step (rows are batched by length, without packing)."""
    max_tokens: Count
    """A longer row is rejected."""
    refusal_weight: NonNegative
    """How often a refusal is shown for one showing of an answer."""
    rehearsal_weight: NonNegative
    """What a token of rehearsal counts in the loss, for one of an answer; each row is shown in one epoch of
    `curate.showings`."""
    cue_weight: NonNegative
    """How often a cue is shown for one showing of an answer; 0 is the teacher's questions alone."""
    kept_share: Annotated[float, Field(gt=0, le=1)]
    """How much of the learnt update is kept in the end; less forgets less of what the model knew before."""
    text_weight: NonNegative
    """Passes over the corpus as plain text, mixed in, for one pass over the rows; 0 is questions alone."""
    text_tokens: Count
    """Length of one passage of plain text."""


class PreferencesConfig(Block):
    """Pairs of answers, the better one first."""

    prompts: Count
    """Questions that answers are sampled to, at most: there are as many as `unanswerable_share` allows."""
    min_prompts: Annotated[int, Field(ge=0)]
    """Where there are fewer questions, keyword queries fill up to so many."""
    unanswerable_share: Share
    """Of the prompts that have no answer: there refusing is preferred to inventing, elsewhere answering to refusing."""
    samples: Count
    """Answers drawn for each, at each temperature."""
    temperatures: Annotated[list[Positive], Field(min_length=1)]
    """Of the samples."""
    ranker: Literal["reference", "judge", "score", "reward", "human"]
    """Whose opinion makes pairs: the reference answer's, by rule; the judge's (teacher.roles.judge), of two answers or
    by score; a reward model's; or people's choices alone."""
    opinions: Count
    """How often the judge scores a sample, for `score`; the mean counts."""
    reward_model: Path | None
    """A folder with a reward model of this SFT model, as the task `reward` writes, for `reward`."""
    inputs: Path
    """A folder with one for each ranker, of what that one reads: `human` holds people's choices (`gradus label`). Only
    the chosen ranker's is a dependency, so that labelling makes nothing stale until the labels are used."""
    max_length_ratio: Annotated[float, Field(ge=1)]
    """A pair with a longer answer than this many times the other is dropped, unless one is the refusal."""
    min_margin: NonNegative
    """A pair whose answers differ less in worth is dropped: in token F1 to the reference, in score, from 0 to 1."""
    max_new_tokens: Count
    """Longest sample."""
    wrong_share: Share
    """A sample with fewer of the answer's words, or without one of its numbers, is wrong. Half an answer makes no
    pair."""
    held_out_share: Share
    """Share of the prompts whose pairs only test the reward model."""
    batch_size: Count
    """Prompts generated at once."""

    @property
    def human(self) -> Path:
        """Where people's choices lie."""
        return self.inputs / "human"

    @property
    def choices(self) -> Path:
        """What the chosen ranker reads."""
        return self.inputs / self.ranker


class RewardConfig(Block):
    """The pairwise reward model (Bradley-Terry): a copy of the SFT adapter, trained on, with a head of its own."""

    learning_rate: LearningRate
    """Peak."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Pairs in one optimiser step."""


class DPOBlock(Block):
    """Direct preference optimisation (Rafailov et al. 2023)."""

    beta: Positive
    """Strength of the pull to the reference."""
    sft_weight: NonNegative
    """Weight of the likelihood of the chosen answer, against likelihood displacement."""
    learning_rate: LearningRate
    """Peak."""
    epochs: Count
    """Passes over the pairs."""
    batch_size: Count
    """Pairs in one optimiser step."""


class PPOBlock(Block):
    """Proximal policy optimisation (Schulman et al. 2017), with the details of `pipelines/alignment`."""

    iterations: Count
    """Rounds of rollout and update."""
    prompts: Count
    """Prompts in one round, answered at once."""
    minibatch: Count
    """Rollouts in one optimiser step."""
    microbatch: Count
    """Rollouts in one forward pass: memory against speed."""
    epochs: Count
    """Passes over the rollouts of a round."""
    critic_warmup: Annotated[int, Field(ge=0)]
    """First rounds in which only the value function learns."""
    temperature: Positive
    """Of the rollouts, the reference and the update alike."""
    max_new_tokens: Count
    """Longest answer."""
    learning_rate: LearningRate
    """Of the policy."""
    critic_learning_rate: LearningRate
    """Of the value function."""
    kl_coefficient: NonNegative
    """Weight of the per-token KL to the reference, in the reward."""
    gamma: Share
    """Discount."""
    gae_lambda: Share
    """Of the generalised advantage estimate."""
    clip: Positive
    """Range of the probability ratio."""
    dual_clip: Annotated[float, Field(gt=1)]
    """Bound of the loss of a token that was worse than expected, in advantages."""
    value_clip: Positive
    """Range in which the value may move in one round."""
    score_clip: Positive
    """Bound of a score, in standard deviations of the SFT model's scores."""
    missing_eos_penalty: NonNegative
    """Taken off the score of an answer that did not end."""

    @model_validator(mode="after")
    def _batches(self) -> "PPOBlock":
        if self.minibatch % self.microbatch or self.prompts % self.minibatch:
            raise ValueError("prompts must be a multiple of minibatch, and minibatch of microbatch")
        return self


class AlignConfig(Block):
    """Alignment with preferences, one model per method."""

    methods: list[Literal["dpo", "ppo"]]
    """Each becomes a stage `align@<method>`."""
    dpo: DPOBlock
    """Direct preference optimisation."""
    ppo: PPOBlock
    """Reward model and policy gradient."""


class EvaluateConfig(Block):
    """What every model is asked."""

    models: dict[str, str]
    """Name of each model and the directory below artifacts/ that holds it. Each becomes `evaluate@<name>`."""
    questions: Path
    """Folder of answerable.jsonl, unanswerable.jsonl and general.jsonl. All are asked: the candidate is chosen by
    those of the split `validation`, the report is about those of the split `test`."""
    max_new_tokens: Count
    """Longest answer."""
    beams: Count
    """Beginnings of an answer that are followed at once (beam search); 1 takes the likeliest token each time."""
    length_penalty: float
    """Of several beams' answers that one is given whose log-likelihood, divided by its length to the power of this, is
    highest; more makes for longer answers, and fewer refusals."""
    max_extra_words: Count
    """Words that a right answer may have beside the accepted one: it must be short enough to say one thing."""
    batch_size: Count
    """Questions generated at once."""
    bits_per_byte_tokens: Count
    """Length of the windows in which held-out text is scored."""

    @property
    def decoding(self) -> dict[str, Any]:
        """How models are asked, in transformers' words; registered ones answer the same."""
        searched = {"num_beams": self.beams, "length_penalty": self.length_penalty, "early_stopping": True}
        return {"do_sample": False, "max_new_tokens": self.max_new_tokens} | (searched if self.beams > 1 else {})


class CompareConfig(Block):
    """The table, and the gate that the candidate must pass."""

    baseline: str
    """The model the candidate must beat."""
    resamples: Count
    """Of the bootstrap."""
    min_clusters: Count
    """Where questions are about effectively fewer documents, questions are drawn, not documents."""
    max_general_drop: Share
    """General accuracy may fall this much below the baseline."""
    max_hallucination_rise: Share
    """Invented answers may rise this much above the baseline's; promotion asks the same against the champion's."""


class Config(Block):
    """params.yaml, whole."""

    compute: ComputeConfig
    data: DataConfig
    base: BaseModelConfig
    ingest: IngestConfig
    clean: CleanConfig
    dedup: DedupConfig
    split: SplitConfig
    data_report: DataReportConfig
    teacher: TeacherConfig
    synthesize: SynthesizeConfig
    curate: CurateConfig
    pretrain: PretrainConfig
    sft: SFTConfig
    preferences: PreferencesConfig
    reward: RewardConfig
    align: AlignConfig
    evaluate: EvaluateConfig
    compare: CompareConfig

    @property
    def writes_questions(self) -> bool:
        """Whether anybody is made to write questions about the documents."""
        return bool(self.synthesize.recipes) and self.teacher.roles.writer is not None


def load(path: Path = Path("params.yaml")) -> Config:
    """Read and check `path`.

    Raises:
        UserError: the file is missing, is not YAML, has an unknown or missing key, or a value out of range.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist in {Path.cwd()}; run from the project's folder.")
    if path.read_bytes().startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is not UTF-8, which DVC needs; save it as UTF-8.")
    values = read_yaml(path)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error, values)}") from error


def flat(block: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Return a block as one flat dictionary, `sft.lora.rank: 32`, for logging."""
    return dict(_flatten(block.model_dump(mode="json"), prefix))


def _flatten(value: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else key
        pairs += _flatten(inner, name) if isinstance(inner, dict) else [(name, inner)]
    return pairs


def _first(error: ValidationError, values: Any) -> str:
    """Return the first problem; unknown keys come before all others, since a misspelt key is also a missing one."""
    problems = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    first = problems[0]
    where = ".".join(_path(first["loc"], values))
    if first["type"] == "extra_forbidden":
        what = f"is not a parameter; {_meant(first['loc'], problems, values)}"
    elif first["type"] == "missing":
        what = "is missing"
    elif first["type"] == "path_type":
        what = f"must be a path (found {first['input']!r})"
    else:
        what = f"{first['msg'][0].lower()}{first['msg'][1:]} (found {first['input']!r})"
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where} {what}{more}" + ("" if what.endswith("?") and not more else ".")


def _path(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the keys that lead to a problem, without the names by which pydantic tells kinds of models apart."""
    path: list[str] = []
    for number, part in enumerate(loc):
        inner = (isinstance(values, dict) and part in values) or isinstance(values, list)
        if inner or number == len(loc) - 1:
            path.append(str(part))
            values = values[part] if inner else None
    return path


def _meant(loc: tuple[int | str, ...], problems: list[ErrorDetails], values: Any) -> str:
    """Say which key an unknown one is meant to be: one that its block has or lacks."""
    extra = {each["loc"] for each in problems if each["type"] == "extra_forbidden"}
    missing = {each["loc"] for each in problems if each["type"] == "missing"}
    block = values
    for part in _path(loc, values)[:-1]:
        block = block[part]
    known = [str(key) for key in block if (*loc[:-1], key) not in extra]
    known += [str(each[-1]) for each in missing if each[:-1] == loc[:-1]]
    close = get_close_matches(str(loc[-1]), known, 1)
    return f"did you mean {close[0]}?" if close else "pipelines/config.py has the known ones"
