"""Hand-labelled outputs, and how well verdicts agree with them. Reads a JSONL file of labels; writes nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import artifacts
from pipelines.evaluation.questions import SETS, SPLITS, Question
from pipelines.evaluation.scoring import VERDICTS
from pipelines.runtime.errors import UserError

FILE = "verdicts.jsonl"
MIN_LABELS = 150
"""The least size of a file of labels, on which the precision and recall of the refusal patterns rest too."""

_TEXTS = ("id", "language", "set", "question", "answer", "label")
_LISTS = ("accepted", "competing")


@dataclass(frozen=True)
class Labelled:
    """An output of a model and the verdict of a person."""

    question: Question
    language: str
    answer: str
    label: str
    """`correct`, `refused` or `wrong`."""


def read(path: Path) -> list[Labelled]:
    """Read the labelled outputs of `path`.

    Raises:
        UserError: the file is missing, a row is incomplete or its label unknown, or there are fewer than `MIN_LABELS`.
    """
    labelled = [_labelled(row, f"{path}, row {number}") for number, row in enumerate(artifacts.read_rows(path), 1)]
    if len(labelled) < MIN_LABELS:
        raise UserError(f"{path} has {len(labelled)} labelled outputs; a judge is calibrated on at least {MIN_LABELS}.")
    return labelled


def _labelled(row: artifacts.Row, where: str) -> Labelled:
    for key in (*_TEXTS, *_LISTS):
        if not isinstance(row.get(key), list if key in _LISTS else str):
            raise UserError(f"{where}: {key!r} is missing or has the wrong type; see docs/evaluation.md.")
    for key, known in (("label", VERDICTS), ("set", SETS)):
        if row[key] not in known:
            raise UserError(f"{where}: {key} is {row[key]!r}; it must be {', '.join(known[:-1])} or {known[-1]}.")
    if row["label"] == "correct" and row["set"] == "unanswerable":
        raise UserError(f"{where}: an unanswerable question has no correct answer; label it refused or wrong.")
    question = Question.of({**row, "kind": row["set"], "split": SPLITS[-1]})
    return Labelled(question, row["language"], row["answer"], row["label"])


def kappa(labels: Sequence[str], verdicts: Sequence[str | None]) -> float:
    """Return Cohen's kappa, the agreement beyond chance (Cohen 1960): 1 is perfect, 0 is chance.

    None, an unreadable verdict, agrees with no label.
    """
    count = len(labels)
    observed = sum(label == each for label, each in zip(labels, verdicts, strict=True)) / count
    marginals = Counter(labels), Counter(verdicts)
    chance = sum(marginals[0][name] * marginals[1][name] for name in VERDICTS) / count**2
    return (observed - chance) / (1 - chance) if chance < 1 else 1.0


def refusal_patterns(labels: Sequence[str], rules: Sequence[str]) -> str:
    """Return precision and recall of the verdict `refused` of the rules as a sentence part."""
    right = Counter(zip(labels, rules, strict=True))["refused", "refused"]
    found, true = rules.count("refused"), labels.count("refused")
    return f"the refusal patterns find {right} of {true} refusals, and {right} of the {found} they find are refusals"
