"""Load and check the evaluation questions: `answerable.jsonl`, `unanswerable.jsonl` and `general.jsonl` of a folder.

A split without an answerable question of the user's has those that `curate` held back instead, with the unanswerable
ones; general questions are always the user's.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines import artifacts
from pipelines.runtime.errors import UserError
from pipelines.text.normalize import tokens

T = TypeVar("T")

SETS = ("answerable", "unanswerable", "general")
ANSWERABLE = SETS[0]
"""The required set: without it nothing is measured and no candidate is selected."""
UNANSWERABLE, GENERAL = SETS[1:]
HELD_BACK = artifacts.ARTIFACTS / "curate/questions"
"""Synthesised questions that `curate` holds back from training, in the form of a user's."""
SYNTHESISED = "synthesised-"
"""Prefix of their ids."""
SPLITS = ("validation", "test")
VALIDATION, TEST = SPLITS
FORWARD = "forward"
DIRECTIONS = (FORWARD, "backward")
_LISTS = ("aliases", "competing", "sources", "choices")


@dataclass(frozen=True)
class Question:
    """One question and its accepted answers."""

    id: str
    set: str
    """`answerable` from the documents, `unanswerable` from the documents, or `general` knowledge."""
    kind: str
    split: str
    """`validation` for decisions, `test` for reporting."""
    question: str
    accepted: tuple[str, ...]
    """Accepted answers, the short form first; empty for an unanswerable question."""
    competing: tuple[str, ...]
    """Wrong answers that must not occur together with the accepted one."""
    sources: tuple[str, ...]
    """Documents that answer the question."""
    choices: tuple[str, ...] = ()
    """Answers to choose from by their likelihood; empty if the answer is to be generated."""
    direction: str = FORWARD
    """`forward`, or `backward` from what the text says of a subject to the subject."""
    twin: str | None = None
    """The answerable question from which an unanswerable one differs in a detail."""

    @classmethod
    def of(cls, row: artifacts.Row) -> "Question":
        """Return the question of a row of answers.jsonl, as far as its answer is scored by it."""
        accepted, competing = tuple(row["accepted"]), tuple(row["competing"])
        return cls(row["id"], row["set"], row["kind"], row["split"], row["question"], accepted, competing, sources=())

    @property
    def cluster(self) -> str:
        """Bootstrap cluster: the first document that answers the question, otherwise the question itself."""
        return self.sources[0] if self.set == "answerable" and self.sources else self.id


def folders(own: Path) -> tuple[Path, ...]:
    """Return the folders whose questions are asked: `own`, and `HELD_BACK` if a split of `own` lacks questions."""
    return (own, HELD_BACK) if splits_without_questions(read(own)) else (own,)


def splits_without_questions(rows: Mapping[str, Sequence[artifacts.Row]]) -> list[str]:
    """Return the splits without an answerable question in `rows`, by set."""
    return [split for split in SPLITS if not any(row.get("split") == split for row in rows[ANSWERABLE])]


def load(own: Path, limit: int | None = None) -> list[Question]:
    """Read the questions of both splits, sorted by id: those of `own`, and those held back for a split without any.

    At most `limit` of each set and split are kept: those with the lowest hashes, as a random sample that a new question
    changes in one place. A twin has the hash of its answerable question.

    Raises:
        UserError: the questions do not pass `check`, or a split has no answerable question.
    """
    rows = read(own)
    missing = splits_without_questions(rows)
    held_back = read(HELD_BACK) if missing else {}
    for name, stand_ins in held_back.items():
        if name != GENERAL:
            rows[name] = [row for row in rows[name] if row.get("split") not in missing]
            rows[name] += [row for row in stand_ins if row["split"] in missing]
    questions = check(rows, own)
    require_splits(rows, own)
    if limit is None:
        return questions
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in sorted(questions, key=_hash):
        groups.setdefault((question.set, question.split), []).append(question)
    return sorted((each for group in groups.values() for each in group[:limit]), key=lambda question: question.id)


def _hash(question: Question) -> bytes:
    return hashlib.sha256((question.twin or question.id).encode()).digest()


def require_splits(rows: Mapping[str, Sequence[artifacts.Row]], folder: Path) -> None:
    """Check that each split of `rows`, by set, has an answerable question; errors name `folder`.

    Raises:
        UserError: a split has none.
    """
    for split in splits_without_questions(rows):
        raise UserError(
            f"{folder / ANSWERABLE}.jsonl has no question whose split is {split!r}, and none is held back from "
            "training for it, so no model can be measured; draft some (`gradus questions`) or write some "
            "(docs/data.md), or train without evaluating: `gradus run sft`."
        )


def are_synthesised(rows: Iterable[artifacts.Row]) -> bool:
    """Return whether the questions about the documents were synthesised; `rows` are those of answers.jsonl."""
    return any(row["id"].startswith(SYNTHESISED) for row in rows)


def read(folder: Path) -> dict[str, list[artifacts.Row]]:
    """Return the rows of each set; a set without a file is empty."""
    files = {name: folder / f"{name}.jsonl" for name in SETS}
    return {name: artifacts.read_rows(path) if path.exists() else [] for name, path in files.items()}


def check(rows: Mapping[str, Sequence[artifacts.Row]], folder: Path) -> list[Question]:
    """Return the questions of `rows`, by set, sorted by id; errors name `folder`, where the rows are or will be.

    Raises:
        UserError: a question is incomplete or asked twice, an id is used twice, or a twin is not an answerable question
            of the same split.
    """
    questions = [_question(row, name, folder) for name, its in rows.items() for row in its]
    twice = sorted(name for name, count in Counter(question.id for question in questions).items() if count > 1)
    if twice:
        raise UserError(f"{folder}: the id {twice[0]!r} is used for two questions; give each a unique id.")
    _check_twins(questions, folder)
    _check_contradictions(questions, folder)
    return sorted(questions, key=lambda question: question.id)


def of_split(split: str, own: Path, limit: int | None = None) -> list[Question]:
    """Return the questions of one split, as `load` reads them.

    Raises:
        UserError: as `load`.
    """
    return [question for question in load(own, limit) if question.split == split]


def sample(items: Sequence[T], most: int, seed: int) -> list[T]:
    """Return a random sample of at most `most` items, in their order."""
    chosen = random.Random(seed).sample(range(len(items)), min(most, len(items)))
    return [items[place] for place in sorted(chosen)]


def unmeasured(questions: Sequence[Question]) -> list[str]:
    """Return the sets without test questions; their unmeasured metrics leave the gate undecided."""
    return [name for name in SETS if not any(each.set == name and each.split == SPLITS[-1] for each in questions)]


def _question(row: artifacts.Row, name: str, folder: Path) -> Question:
    where = f"{folder / name}.jsonl, question {row.get('id')!r}"
    needed = ["id", "question", "split"] + (["answer"] if name != "unanswerable" else [])
    missing = [key for key in needed if not row.get(key)]
    if missing:
        raise UserError(f"{where}: {missing[0]!r} is missing.")
    for key in needed:
        if not isinstance(row[key], str):
            raise UserError(f"{where}: {key!r} is {row[key]!r}; it must be a quoted string.")
    for key in _LISTS:
        texts = row.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: {key!r} must be a list of strings.")
    if "answer" in needed and not row.get("choices") and not tokens(row["answer"]):
        raise UserError(f"{where}: 'answer' is {row['answer']!r}; it must contain a letter or a digit to be scored.")
    if row["split"] not in SPLITS:
        raise UserError(f"{where}: split is {row['split']!r}; it must be 'validation' or 'test'.")
    if row.get("direction", FORWARD) not in DIRECTIONS:
        raise UserError(f"{where}: direction is {row['direction']!r}; it must be 'forward' or 'backward'.")
    if not isinstance(row.get("twin"), str | None):
        raise UserError(f"{where}: twin is {row['twin']!r}; it must be the id of a question.")
    _check_choices(row, name, where)
    return Question(
        id=row["id"],
        set=name,
        kind=row.get("kind", name),
        split=row["split"],
        question=row["question"],
        accepted=(row["answer"], *row.get("aliases", [])) if name != "unanswerable" else (),
        competing=tuple(row.get("competing", [])),
        sources=tuple(row.get("sources", [])),
        choices=tuple(row.get("choices", [])),
        direction=row.get("direction", FORWARD),
        twin=row.get("twin"),
    )


def _check_choices(row: artifacts.Row, name: str, where: str) -> None:
    choices = row.get("choices", [])
    if not choices:
        return
    if name != "general":
        raise UserError(f"{where}: only general questions may have choices; these must be answered in words.")
    if len(set(choices)) < max(len(choices), 2) or row["answer"] not in choices:
        raise UserError(f"{where}: 'choices' must be two or more different texts, with the answer among them.")


def _check_contradictions(questions: Sequence[Question], folder: Path) -> None:
    """Check that no question is asked twice, be it with one answer (it counts twice) or with two (one is wrong).

    Only case and spacing are ignored: "C" and "C++" differ in punctuation alone.
    """
    asked: dict[str, Question] = {}
    for question in questions:
        other = asked.setdefault(" ".join(question.question.casefold().split()), question)
        if other is not question:
            how = "" if set(other.accepted) & set(question.accepted) else ", with contradicting answers"
            raise UserError(f"{folder}: {other.id!r} and {question.id!r} ask the same question{how}; remove one.")


def _check_twins(questions: Sequence[Question], folder: Path) -> None:
    """Check that each twin is an answerable question of the same split, so that pairs are comparable."""
    by_id = {question.id: question for question in questions}
    for question in questions:
        if question.twin is None:
            continue
        twin = by_id.get(question.twin)
        if twin is None or twin.set != ANSWERABLE or twin.split != question.split:
            raise UserError(
                f"{folder}, question {question.id!r}: its twin {question.twin!r} is not an answerable question of the "
                f"split {question.split!r}."
            )
