"""The pairs task on samples of a tiny model, and on people's choices."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.alignment.preferences.online_prompts import ONLINE, ONLINE_HELD_OUT
from pipelines.alignment.preferences.sampled import verdict_rates
from pipelines.artifacts import Row, read_rows, write_rows
from pipelines.config import Config
from pipelines.curation.schema import PreferencePair, RowKind, TrainingRow
from pipelines.runtime.errors import UserError
from tasks.pairs import describe, main
from tasks.pairs import pairs as make_pairs
from tests.support.rows import training_row
from tests.support.teachers import PROMPTS, Script

pytestmark = pytest.mark.slow

ROWS = [training_row(f"Who keeps lamp {n}?", f"Keeper {n}") for n in range(8)] + [
    training_row(f"Who keeps bell {n}?") for n in range(8)
]


DOCUMENTS: list[Row] = [{"id": "d1", "source": "lamps.md", "language": "en"}]


def changed(config: Config, row: dict[str, str] | None = None, **changes: Any) -> Config:
    """Return the parameters with changes to the block `pairs` and an absolute path to the prompt templates."""
    values = config.model_dump(mode="json")
    values["alignment"]["pairs"]["first"] |= row or {}
    values["pairs"] |= changes
    values["synthesize"]["prompts"] = str(PROMPTS)
    return Config.model_validate(values)


def test_pairs_are_deterministic_and_held_out_by_prompt(base: Path, config: Config) -> None:
    settings = changed(config, prompts=12, samples=1, temperatures=[0.7, 1.1], max_new_tokens=4, held_out_share=0.25)
    written = []
    for name in ("first", "second"):
        out = Path(name)
        out.mkdir()
        metrics = make_pairs("first", ROWS, DOCUMENTS, base, base, out, out / "card.md", settings, None)
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
    card = (out / "card.md").read_text()
    dropped = [pair["reason"] for pair in read_rows(out / "rejects.jsonl")]
    assert f"| lamps.md | d1 | {len(both)} |" in card and f"Of {len(both) + len(dropped)} pairs" in card
    assert metrics["pairs_sample"] + metrics["pairs_hard_negative"] + metrics["pairs_refusal"] == len(both)


def test_keyword_queries_fill_up_missing_questions_and_are_counted(
    base: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = [training_row(f"lamp {n} keeper", f"Keeper {n}", RowKind.KEYWORD_QUERY) for n in range(20)]
    for name, most, found in (("few", 20, 2.0), ("enough", 16, 0.0)):
        out = Path(name)
        out.mkdir()
        settings = changed(config, prompts=16, min_prompts=most, samples=1, max_new_tokens=4)
        metrics = make_pairs(
            "first",
            ROWS[: 6 if found else 8] + ROWS[8:] + queries,
            DOCUMENTS,
            base,
            base,
            out,
            out / "card.md",
            settings,
            None,
        )
        assert metrics["prompts_keyword_queries"] == found
        assert metrics["prompts_answerable"] == metrics["prompts_unanswerable"] == 8.0
        assert ("2 of 16 prompts are keyword queries" in capsys.readouterr().err) == (found > 0)
        assert {pair["kind"] for pair in read_rows(out / "train.jsonl")} <= {"answer", "refusal"}


def test_no_answerable_question_is_a_user_error(base: Path, config: Config) -> None:
    queries = [training_row(f"lamp {n} keeper", f"Keeper {n}", RowKind.KEYWORD_QUERY) for n in range(9)]
    settings = changed(config, min_prompts=0)
    message = (
        r"pairs@first: .* has no answerable question of at most 472 tokens; raise pairs\.max_tokens or "
        r"pairs\.min_prompts, up to which keyword queries are"
    )
    with pytest.raises(UserError, match=message):
        make_pairs("first", ROWS[8:] + queries, [], base, base, Path("out"), Path("card.md"), settings, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out_share": 1.0}, r"pairs@first: all \d+ pairs are held out; lower pairs\.held_out_share"),
        ({"max_tokens": 8}, r"pairs@first: .* no answerable question of at most 4 tokens; raise pairs\.max_tokens"),
        (
            {"min_margin": 2.0},
            r"pairs@first: no pair is left to train on: margin \(\d+\), answer_too_long \(8\);",
        ),
    ],
)
def test_no_pair_to_train_on_is_a_user_error_with_the_reasons(
    base: Path, config: Config, changes: dict[str, Any], message: str
) -> None:
    Path("out").mkdir()
    settings = changed(config, prompts=8, samples=1, max_new_tokens=4, **changes)
    with pytest.raises(UserError, match=message):
        make_pairs("first", ROWS, DOCUMENTS, base, base, Path("out"), Path("card.md"), settings, None)


@pytest.mark.parametrize("rows", [ROWS, [*ROWS, training_row("lamp keeper", "Keeper", RowKind.KEYWORD_QUERY)]])
def test_online_training_has_prompts_if_all_questions_are_in_pairs(
    base: Path, config: Config, rows: list[TrainingRow]
) -> None:
    Path("out").mkdir()
    settings = changed(config, prompts=16, min_prompts=0, samples=1, max_new_tokens=4)
    metrics = make_pairs("first", rows, DOCUMENTS, base, base, Path("out"), Path("card.md"), settings, None)
    assert metrics["online_prompts"] == metrics["online_prompts_shared"] == 16.0


def test_samples_and_pairs_are_counted() -> None:
    shares = verdict_rates([["right", "wrong"], ["right", "refused"]])
    assert shares["samples_right"] == 0.5 and shares["prompts_with_wrong_sample"] == 0.5
    pair = PreferencePair.of(ROWS[0], "Keeper 0", "Keeper 1", "sample", 1.0)
    assert describe([pair]) == {"pairs_sample": 1.0, "pairs_hard_negative": 0.0, "pairs_refusal": 0.0}


def test_judge_ranks_by_score_and_dropped_pairs_are_counted(base: Path, config: Config) -> None:
    settings = changed(
        config,
        {"ranker": "score", "scorer": "sft"},
        prompts=6,
        samples=3,
        judge_samples=2,
        max_new_tokens=6,
        max_length_ratio=99.0,
    )
    end_soon(base)
    numbers = count(1)
    ask = Script(lambda _: str(next(numbers) % 10 + 1)).ask
    out = Path("out")
    out.mkdir()
    metrics = make_pairs("first", ROWS, [], base, base, out, out / "card.md", settings, ask)
    pairs = read_rows(out / "train.jsonl") + read_rows(out / "held_out.jsonl")
    assert {pair["provenance"] for pair in pairs} == {"score"}
    assert all(0 < pair["margin"] <= 1 for pair in pairs)
    dropped = sum(value for name, value in metrics.items() if name.startswith("dropped_"))
    assert metrics["dropped_answer_too_long"] > 0
    assert dropped == len(read_rows(out / "rejects.jsonl"))


def test_online_prompts_are_held_apart_from_those_of_the_pairs(base: Path, config: Config) -> None:
    out = Path("out")
    shares: dict[str, Any] = {"held_out_share": 0.25, "min_prompts": 4}
    out.mkdir()
    settings = changed(config, prompts=8, online_prompts=6, samples=1, max_new_tokens=4, **shares)
    metrics = make_pairs("first", ROWS, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    in_pairs = {
        row["prompt"][0]["content"] for file in ("train", "held_out") for row in read_rows(out / f"{file}.jsonl")
    }
    online, held = (
        {row["messages"][0]["content"] for row in read_rows(out / f"{file}.jsonl")}
        for file in ("online", "online_held_out")
    )
    assert metrics["online_prompts"] == len(online | held) == 6.0 and metrics["online_prompts_shared"] == 0.0
    assert len(held) == 2 and not online & held and not in_pairs & (online | held)
    settings = changed(config, prompts=16, online_prompts=6, samples=1, max_new_tokens=4, **shares)
    metrics = make_pairs("first", ROWS, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    assert metrics["online_prompts"] == metrics["online_prompts_shared"] == 16.0  # none is left


def test_the_device_is_prepared_before_a_judge_is_loaded(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    @contextmanager
    def task(*_: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(config=changed(config, {"ranker": "judge", "scorer": "sft"}), input=Path)

    def load_judge(*_: object) -> None:
        order.append("judge")
        raise UserError("loaded")

    monkeypatch.setattr("tasks.pairs.task", task)
    monkeypatch.setattr("tasks.pairs.devices.prepare", lambda _: order.append("device"))
    monkeypatch.setattr("tasks.pairs.load_judge", load_judge)
    with pytest.raises(UserError, match="loaded"):
        main("first")
    assert order == ["device", "judge"]


@pytest.mark.parametrize("ranker", ["reference", "self_play"])
def test_truncated_samples_are_in_no_pair(base: Path, config: Config, ranker: str) -> None:
    """With one new token, a sample that did not end is its text, and one that ended is empty."""
    out = Path("out")
    out.mkdir()
    settings = changed(config, {"ranker": ranker}, prompts=8, samples=2, max_new_tokens=1, max_length_ratio=99.0)
    how = ("first", ROWS, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    if ranker == "self_play":
        with pytest.raises(UserError, match=r"no pair is left to train on: answer_too_long \(8\)"):
            make_pairs(*how)
    else:
        assert make_pairs(*how)["dropped_answer_too_long"] == 8.0
        assert {pair["provenance"] for pair in read_rows(out / "train.jsonl")} == {"hard_negative", "refusal"}


def test_prompts_and_pairs_fit_into_the_context_of_the_policy(base: Path, config: Config) -> None:
    out = Path("out")
    out.mkdir()
    long = [training_row(f"Who keeps lamp {n}, {'the tall one, ' * 300}?", f"Keeper {n}") for n in range(8)]
    settings = changed(config, prompts=16, samples=1, max_new_tokens=4, max_tokens=4096, online_prompts=64)
    metrics = make_pairs("first", ROWS + long, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    assert metrics["dropped_too_long"] == 8.0
    files = ("train.jsonl", "held_out.jsonl", ONLINE, ONLINE_HELD_OUT)
    assert "tall" not in "".join((out / name).read_text() for name in files)


def end_soon(base: Path) -> None:
    """Let a fifth of the tokens end an answer, so that most samples end."""
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, *range(480, 600)]}))


def test_self_play_prefers_the_reference_to_every_sample(base: Path, config: Config) -> None:
    out = Path("out")
    out.mkdir()
    end_soon(base)
    settings = changed(config, {"ranker": "self_play"}, prompts=8, samples=2, max_new_tokens=6, max_length_ratio=99.0)
    make_pairs("first", ROWS, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    found = read_rows(out / "train.jsonl")
    assert found and {pair["provenance"] for pair in found} == {"sample"}
    assert all(pair["chosen"][0]["content"] == pair["reference"] != pair["rejected"][0]["content"] for pair in found)


def test_choices_of_people_become_pairs(base: Path, config: Config) -> None:
    folder, out = Path("choices/human"), Path("out")
    folder.mkdir(parents=True)
    out.mkdir()
    rows = [{"prompt": f"Who keeps lamp {n}?", "chosen": f"Keeper {n}.", "rejected": "Keeper nine."} for n in range(8)]
    write_rows(folder / "mine.jsonl", rows)
    settings = changed(config, {"ranker": "human"}, inputs=str(folder.parent), held_out_share=0.25, min_prompts=4)
    others = [training_row(f"Who keeps bell {n}?", f"Ringer {n}") for n in range(4)]
    metrics = make_pairs("first", ROWS[:8] + others, DOCUMENTS, base, base, out, out / "card.md", settings, None)
    assert (metrics["train_pairs"], metrics["held_out_pairs"], metrics["pairs_human"]) == (6, 2, 8)
    online = [row["messages"][0]["content"] for file in (ONLINE, ONLINE_HELD_OUT) for row in read_rows(out / file)]
    assert sorted(online) == [row.question for row in others]  # those that people did not see
    with pytest.raises(UserError, match="no choice in empty/human; label pairs with `gradus label`"):
        make_pairs(
            "first",
            [],
            [],
            base,
            base,
            out,
            out / "card.md",
            changed(config, {"ranker": "human"}, inputs="empty"),
            None,
        )
