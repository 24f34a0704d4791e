"""Preferences from a tiny model's own samples."""

from pathlib import Path

import pytest

from pipelines.artifacts import Row, read_rows
from pipelines.config import Config
from pipelines.errors import UserError
from tasks.preferences import describe, preferences

REFUSAL = "I don't know."


def row(question: str, answer: str) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    kind = "refusal" if answer == REFUSAL else "answer"
    return {"messages": messages, "kind": kind, "source": None, "short": None, "showing": 0}


ROWS = [row(f"Who keeps lamp {n}?", f"Keeper {n}") for n in range(8)] + [
    row(f"Who keeps bell {n}?", REFUSAL) for n in range(8)
]


def test_pairs_are_written_the_same_twice_and_held_out_by_prompt(base: Path, config: Config) -> None:
    block = config.preferences.model_copy(
        update={"prompts": 12, "samples": 2, "max_new_tokens": 4, "held_out_share": 0.25}
    )
    written = []
    for name in ("first", "second"):
        out = Path(name)
        out.mkdir()
        metrics = preferences(ROWS, base, out, REFUSAL, block, config.compute)
        written.append([(out / f"{side}.jsonl").read_bytes() for side in ("train", "held_out")])
    assert written[0] == written[1]
    train, held = read_rows(out / "train.jsonl"), read_rows(out / "held_out.jsonl")
    assert metrics["train_pairs"] == len(train) and metrics["held_out_pairs"] == len(held) > 0
    assert not {pair["prompt"][0]["content"] for pair in train} & {pair["prompt"][0]["content"] for pair in held}
    both = train + held
    assert sum(pair["kind"] == "refusal" for pair in both) == sum(pair["provenance"] == "refusal" for pair in both) > 0
    assert all(
        pair["chosen"] != pair["rejected"] and pair["chosen"][0]["content"] == pair["reference"] for pair in both
    )
    assert metrics["pairs_sample"] + metrics["pairs_borrowed"] + metrics["pairs_refusal"] == len(both)


def test_nothing_to_ask_about_is_said(base: Path, config: Config) -> None:
    with pytest.raises(UserError, match="no row of the kind 'answer'"):
        preferences(ROWS[8:], base, Path("out"), REFUSAL, config.preferences, config.compute)


def test_samples_are_counted_by_verdict() -> None:
    shares = describe([{"provenance": "sample"}], [["right", "wrong"], ["right", "refused"]])
    assert shares["samples_right"] == 0.5 and shares["prompts_with_wrong_sample"] == 0.5 and shares["pairs_sample"] == 1
