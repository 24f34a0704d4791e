"""Conversations that the user brought, as rows to train on."""

from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.synthesis import formats
from pipelines.synthesis.worded_rows import own_row


def own_rows(folder: Path) -> tuple[list[Row], list[Row]]:
    """Return the conversations in the JSONL files of a folder, in whichever form, as training rows; and the rest.

    What is left out names its file and row, with a `reason` that begins with `own_`.

    Raises:
        UserError: a line of a file is not a JSON object.
    """
    good: list[Row] = []
    unfit: list[Row] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in enumerate(artifacts.each_row(path), 1):
            found, bad = formats.read([row])
            reason = bad[0]["reason"] if bad else "pair" if "messages" not in found[0] else None
            if reason is None:
                good.append(own_row(found[0]))
            else:
                unfit.append({"question": f"{path.name}, row {number}", "kind": "own", "reason": f"own_{reason}"})
    return good, unfit
