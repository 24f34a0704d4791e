"""Conversations that the user brought, as rows to train on."""

from collections.abc import Iterable
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation.rows import user_row
from pipelines.formats import chat_formats
from pipelines.text.normalize import tokens


def nothing_written(folder: Path) -> str:
    """Return what is missing where no questions are to be written and the folder holds no conversation."""
    return (
        f"No questions are to be written (synthesize.recipes, teacher.roles.writer), and {folder} holds no "
        "conversation; write some there, or have questions written."
    )


def declines(row: Row, refusal: str) -> bool:
    """Tell whether a conversation ends with the refusal; any other is an answered question."""
    return tokens(row["messages"][-1]["content"]) == tokens(refusal)


def user_questions(rows: Iterable[Row]) -> list[str]:
    """Return what conversations ask last, where that is one line that ends as a question does.

    An instruction is none: with another name in it, it can still be followed.
    """
    asked = (row["messages"][-2]["content"].strip() for row in rows)
    return [question for question in asked if question.endswith(("?", "？")) and "\n" not in question]


def user_rows(folder: Path) -> tuple[list[Row], list[Row]]:
    """Return the conversations in the JSONL files of a folder, in whichever form, as training rows; and the rest.

    What is left out names its file and row, with a `reason` that begins with `own_`.

    Raises:
        UserError: a line of a file is not a JSON object.
    """
    good: list[Row] = []
    unfit: list[Row] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(artifacts.each_row(path), 1):
            found, bad = chat_formats.read([row])
            reason = bad[0]["reason"] if bad else "pair" if "messages" not in found[0] else None
            if reason is None:
                good.append(user_row(found[0]))
            else:
                unfit.append({"question": f"{path.name}, row {number}", "kind": "own", "reason": f"own_{reason}"})
    return good, unfit
