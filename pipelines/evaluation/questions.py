"""Load the evaluation questions and the held-out text as datasets for lm-eval's task files.

Reads `answerable.jsonl`, `unanswerable.jsonl` and `general.jsonl` from the folder of questions, and a Parquet file of
documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.runtime.errors import UserError
from pipelines.text.normalize import tokens

SETS = ("answerable", "unanswerable", "general")
ANSWERABLE = SETS[0]
"""The required set: without it nothing is measured and no candidate is selected."""
SPLITS = ("validation", "test")
_LISTS = ("aliases", "competing", "sources")


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

    @property
    def cluster(self) -> str:
        """Bootstrap cluster: the first document that answers the question, otherwise the question itself."""
        return self.sources[0] if self.set == "answerable" and self.sources else self.id


def load(folder: Path) -> list[Question]:
    """Read all questions of both splits, sorted by id. Only answerable questions are required.

    Raises:
        UserError: a question is incomplete, an id is used twice, or a split has no answerable question.
    """
    files = {name: folder / f"{name}.jsonl" for name in SETS}
    questions = [
        _question(row, name, folder)
        for name, path in files.items()
        if path.exists()
        for row in artifacts.read_rows(path)
    ]
    ids = [question.id for question in questions]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"{folder}: the id {twice[0]!r} is used for two questions; give each a unique id.")
    for split in SPLITS:
        if not any(question.set == ANSWERABLE and question.split == split for question in questions):
            raise UserError(
                f"{files[ANSWERABLE]} has no question whose split is {split!r}, so no model can be measured; add some "
                "(docs/data.md), or train without evaluating: `gradus run sft`."
            )
    return sorted(questions, key=lambda question: question.id)


def unmeasured(questions: Sequence[Question]) -> list[str]:
    """Return the sets without test questions; the gate fails on their unmeasured metrics."""
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
    if "answer" in needed and not tokens(row["answer"]):
        raise UserError(f"{where}: 'answer' is {row['answer']!r}; it must contain a letter or a digit to be scored.")
    if row["split"] not in SPLITS:
        raise UserError(f"{where}: split is {row['split']!r}; it must be 'validation' or 'test'.")
    accepted = (row["answer"], *row.get("aliases", [])) if name != "unanswerable" else ()
    competing, sources = tuple(row.get("competing", [])), tuple(row.get("sources", []))
    return Question(row["id"], name, row.get("kind", name), row["split"], row["question"], accepted, competing, sources)


def question_dataset(folder: str, name: str, **_: Any) -> dict[str, Any]:
    """Return both splits of the set `name` for lm-eval, which adds its own arguments; ids separate the splits later."""
    return _dataset([{"id": each.id, "question": each.question} for each in load(Path(folder)) if each.set == name])


def text_dataset(documents: str, **_: Any) -> dict[str, Any]:
    """Return the held-out documents for lm-eval."""
    return _dataset([{"source": row["source"], "text": row["text"]} for row in artifacts.read_table(Path(documents))])


def _dataset(rows: list[artifacts.Row]) -> dict[str, Any]:
    from datasets import Dataset  # slow import; `gradus run` checks the questions first

    return {"test": Dataset.from_list(rows)}
