"""The blocks `evaluate` and `compare` of params.yaml."""

from pathlib import Path
from typing import Any

from pipelines.block import Block, Count, Share


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
