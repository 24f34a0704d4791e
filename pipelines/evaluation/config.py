"""The blocks `evaluate`, `select`, `test`, `open_book`, `best_of_n` and `compare` of params.yaml."""

from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from pipelines.block import Block, Count, Fraction, Name, Positive, Share


class EvaluateConfig(Block):
    """Questions that every model is evaluated on, and how answers are decoded."""

    models: dict[Name, str]
    """Names of the models and their directories in artifacts/. Each becomes a stage `evaluate@<name>`."""
    questions: Path
    """Folder of answerable.jsonl, unanswerable.jsonl and general.jsonl. Every model is asked the split `validation`,
    which selects the candidate; the stage `test` asks the split `test`."""
    limit: Count | None
    """Maximum number of questions of each set and split; None: all. For a first look: the gate needs them all."""
    max_new_tokens: Count
    """Maximum answer length in tokens."""
    beams: Count
    """Beam width; 1 is greedy decoding."""
    length_penalty: float
    """Beams are scored by log p / length**length_penalty; higher values favour longer answers and fewer refusals."""
    beam_threshold: Positive | None
    """Maximum difference in log p (nats) between the likeliest beam and one that is followed; None: no maximum."""
    max_extra_words: Count
    """Maximum words that a correct answer may have in addition to the accepted variant, so that it makes one claim."""
    batch_size: Count
    """Questions decoded in one batch."""
    bits_per_byte_tokens: Count
    """Window length in tokens for scoring held-out text."""
    judge: bool
    """Whether the model of teacher.roles.judge reviews the answers that the rules call wrong."""
    min_judge_agreement: Share
    """Minimum agreement (Cohen's kappa) of the judge with the `labels` of outputs that the rules call wrong; below it,
    the evaluation is refused."""
    labels: Path
    """Folder of the judge: its prompt, verdict.yaml, and hand-labelled outputs to calibrate it on, verdicts.jsonl."""

    @property
    def judge_prompt(self) -> Path:
        """The file with the judge's prompt."""
        return self.labels / "verdict.yaml"

    @property
    def decoding(self) -> dict[str, Any]:
        """Generation settings by their transformers names, but for the threshold; registered models use the same."""
        searched: dict[str, Any] = {"num_beams": self.beams, "length_penalty": self.length_penalty}
        searched |= {"beam_threshold": self.beam_threshold, "early_stopping": True}
        return {"do_sample": False, "max_new_tokens": self.max_new_tokens} | (searched if self.beams > 1 else {})


class SelectConfig(Block):
    """The selection of the candidate by the validation questions."""

    alpha: Fraction
    """Error probability of ruling out a model that is within the limits of the gate and no worse than its parent."""


class TestConfig(Block):
    """Which models are asked the test questions, beside the baseline and the candidate."""

    parent: bool
    """Whether to ask the model that the candidate was aligned from too: the gate fails a candidate that is worse, and
    the report shows what alignment fixed and broke."""


class BestOfNConfig(Block):
    """Best-of-n accuracy of the candidate on answerable validation questions."""

    questions: Count
    """Maximum number of questions, a random sample with `compute.seed`."""

    n: Annotated[int, Field(ge=2)]
    """Samples of each question."""
    temperature: Positive
    """Sampling temperature."""
    reward: Annotated[str, StringConstraints(pattern="^reward/")]
    """The reward model that picks, a row of `alignment.reward` as reward/<row>."""


class OpenBookConfig(Block):
    """Open-book answers of the baseline and the candidate: retrieval beside tuning, and both together."""

    questions: Count
    """Maximum number of test questions, a random sample with `compute.seed`."""

    passages: Count
    """Passages in the prompt, the best by BM25."""
    passage_sentences: Count
    """Sentences of a passage; each passage repeats half of the one before."""
    prompt: str
    """Prompt with the placeholders `{passage}` and `{question}`. `{{` and `}}` stand for braces."""

    @field_validator("prompt")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        if {name for _, name, _, _ in Formatter().parse(value) if name is not None} != {"passage", "question"}:
            raise ValueError("it must contain {passage} and {question}, and no other placeholder")
        return value


class CompareConfig(Block):
    """The comparison table, and the gate that the candidate must pass."""

    baseline: str
    """The model the candidate must beat."""
    resamples: Count
    """Bootstrap resamples."""
    min_clusters: Count
    """Below this effective number of documents, the bootstrap resamples questions instead of documents."""
    alpha: Fraction
    """Probability that the gate ever passes a model that does not meet a requirement, over all `openings` together; or
    ever fails one as worse than its parent that is not."""
    openings: Count
    """How many candidates the test questions are asked of; each uses `alpha` / `openings`. Then they are replaced."""
    max_general_drop: Share
    """Maximum loss of general accuracy."""
    max_hallucination_rise: Share
    """Maximum rise of the hallucination rate."""
    min_accuracy: Share
    """Minimum accuracy on answerable questions."""
    max_over_refusal: Share
    """Maximum over-refusal rate."""
    max_over_refusal_rise: Share
    """Maximum rise of the over-refusal rate above the champion's."""

    @property
    def alpha_per_opening(self) -> float:
        """Error probability of one opening of the gate."""
        return self.alpha / self.openings
