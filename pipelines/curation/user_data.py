"""Conversations that the user provided, as training rows."""

from collections.abc import Iterable
from pathlib import Path

from pipelines import artifacts
from pipelines.curation.schema import Rejection, RowKind, TrainingRow
from pipelines.formats import chat_formats
from pipelines.text.normalize import tokens


def nothing_written(folder: Path) -> str:
    """Return the message for a run without a writer and without user conversations."""
    return (
        f"There is nothing to train on: question generation is off (synthesize.recipes, teacher.roles.writer) and "
        f"{folder} holds no conversation; add conversations there or enable generation."
    )


def declines(row: TrainingRow, refusal: str) -> bool:
    """Return whether a conversation ends with the refusal; all others count as answered questions."""
    return tokens(row.answer) == tokens(refusal)


def user_questions(rows: Iterable[TrainingRow]) -> list[str]:
    """Return the last user turns that are questions: a single line that ends with a question mark.

    Instructions are excluded, since an instruction can still be followed after an entity swap.
    """
    questions = (row.question.strip() for row in rows)
    return [question for question in questions if question.endswith(("?", "？")) and "\n" not in question]


def user_rows(folder: Path) -> tuple[list[TrainingRow], list[Rejection]]:
    """Return the conversations of a folder's JSONL files, in any chat format, as training rows, and the rejections.

    A rejection names the file and the row; its reason begins with `own_`.

    Raises:
        UserError: a line of a file is not a JSON object.
    """
    rows: list[TrainingRow] = []
    rejected: list[Rejection] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(artifacts.each_row(path), 1):
            read, invalid = chat_formats.read([row])
            reason = invalid[0]["reason"] if invalid else "pair" if "messages" not in read[0] else None
            if reason is None:
                rows.append(TrainingRow(read[0]["messages"], RowKind.TASK, source=read[0].get("source")))
            else:
                rejected.append(Rejection({"question": f"{path.name}, row {number}", "kind": "own"}, f"own_{reason}"))
    return rows, rejected
