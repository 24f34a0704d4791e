"""The questions every model is asked, and the held-out text it is scored on, as lm-eval's task files load them.

Reads `answerable.jsonl`, `unanswerable.jsonl` and `general.jsonl` in the folder of questions, and a Parquet file
of documents.
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
"""The set without which nothing is measured, and no candidate chosen."""
SPLITS = ("validation", "test")
_LISTS = ("aliases", "competing", "sources")


@dataclass(frozen=True)
class Question:
    """One question and what counts as its answer."""

    id: str
    set: str
    """`answerable` from the documents, `unanswerable` by anybody who has only them, or `general` knowledge."""
    kind: str
    split: str
    """Decisions are taken on `validation`, the report is about `test`."""
    question: str
    accepted: tuple[str, ...]
    """The answer, its short form first; empty for an unanswerable question."""
    competing: tuple[str, ...]
    """Wrong answers that must not stand beside the right one."""
    sources: tuple[str, ...]
    """Documents that answer it."""

    @property
    def cluster(self) -> str:
        """What the bootstrap draws as one: the first document that answers it, or else the question alone."""
        return self.sources[0] if self.set == "answerable" and self.sources else self.id


def load(folder: Path) -> list[Question]:
    """Read all questions of both splits, in the order of their ids. There may be none but answerable ones.

    Raises:
        UserError: a question is incomplete, an id used twice, or a split has no answerable question.
    """
    files = {name: folder / f"{name}.jsonl" for name in SETS}
    found = [
        _question(row, name, folder)
        for name, path in files.items()
        if path.exists()
        for row in artifacts.read_rows(path)
    ]
    ids = [question.id for question in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"{folder}: the id {twice[0]!r} is used for two questions; give each its own.")
    for split in SPLITS:
        if not any(question.set == ANSWERABLE and question.split == split for question in found):
            raise UserError(
                f"{files[ANSWERABLE]} has no question whose split is {split!r}, so no model can be measured; add some "
                "(docs/data.md), or train without measuring: `gradus run sft`."
            )
    return sorted(found, key=lambda question: question.id)


def unmeasured(found: Sequence[Question]) -> list[str]:
    """Return the sets of which no test question is there; what they would measure keeps the gate shut."""
    return [name for name in SETS if not any(each.set == name and each.split == SPLITS[-1] for each in found)]


def _question(row: artifacts.Row, name: str, folder: Path) -> Question:
    where = f"{folder / name}.jsonl, question {row.get('id')!r}"
    needed = ["id", "question", "split"] + (["answer"] if name != "unanswerable" else [])
    missing = [key for key in needed if not row.get(key)]
    if missing:
        raise UserError(f"{where}: {missing[0]!r} is missing.")
    for key in needed:
        if not isinstance(row[key], str):
            raise UserError(f"{where}: {key!r} is {row[key]!r}; it must be text, in quotation marks.")
    for key in _LISTS:
        texts = row.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: {key!r} must be a list of texts.")
    if "answer" in needed and not tokens(row["answer"]):
        raise UserError(f"{where}: 'answer' is {row['answer']!r}; it must hold a letter or a digit, to be compared.")
    if row["split"] not in SPLITS:
        raise UserError(f"{where}: split is {row['split']!r}; it must be 'validation' or 'test'.")
    accepted = (row["answer"], *row.get("aliases", [])) if name != "unanswerable" else ()
    competing, sources = tuple(row.get("competing", [])), tuple(row.get("sources", []))
    return Question(row["id"], name, row.get("kind", name), row["split"], row["question"], accepted, competing, sources)


def question_dataset(folder: str, name: str, **_: Any) -> dict[str, Any]:
    """Return the set `name` for lm-eval (which adds arguments of its own): both splits, told apart by id afterwards."""
    return _dataset([{"id": each.id, "question": each.question} for each in load(Path(folder)) if each.set == name])


def text_dataset(documents: str, **_: Any) -> dict[str, Any]:
    """Return the held-out documents for lm-eval."""
    return _dataset([{"source": row["source"], "text": row["text"]} for row in artifacts.read_table(Path(documents))])


def _dataset(rows: list[artifacts.Row]) -> dict[str, Any]:
    from datasets import Dataset  # takes seconds to import, and `gradus run` checks the questions before anything else

    return {"test": Dataset.from_list(rows)}
