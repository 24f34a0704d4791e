"""Clean on the sample corpus, compared with its manifest, and on small documents."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.data import documents
from pipelines.data.clean.c4 import is_sentence
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError
from tasks.clean import clean
from tasks.ingest import ingest
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

DATA = ROOT / "data"
TRUTH = json.loads((DATA / "sample_manifest.json").read_text())
PROSE = (
    "The sluice keeper rings the bell twice before the gate is opened, because the rush below it is strong. "
    "In winter three sailings a week are made, and the days are read out in the hall after the autumn meeting. "
    "Council members sat on hard benches; whoever spoke for longer than a candle burned paid for the next one. "
)


@pytest.fixture
def sample(config: Config, tmp_path: Path) -> Path:
    """Return the folder of the cleaned sample corpus, with the ingested documents."""
    for name in ("ingest", "clean"):
        (tmp_path / name).mkdir()
    ingest(config.ingest.model_copy(update={"source": DATA / "raw"}), tmp_path / "ingest")
    clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Executor())
    return tmp_path / "clean"


def texts(directory: Path) -> dict[str, str]:
    return {each.source: each.text for each in documents.read(directory / "documents")}


def write(directory: Path, *found: str) -> None:
    directory.mkdir()
    rows = [Document(f"id{n}", f"{n}.md", None, "Title", "markdown", text) for n, text in enumerate(found)]
    documents.write(directory / "documents", rows)


def test_only_planted_junk_is_dropped(sample: Path) -> None:
    dropped = {row["source"] for row in artifacts.read_rows(sample / "drops.jsonl")}
    assert dropped == set(TRUTH["junk"])


def test_only_planted_boilerplate_is_removed(sample: Path) -> None:
    distinct = set(texts(sample).values())  # exact copies keep the same lines
    left = Counter(line.strip() for text in distinct for line in text.split("\n"))
    assert all(left[line] <= (1 if is_sentence(line) else 0) for line in TRUTH["boilerplate_lines"])
    removed = {
        row["example"] for row in artifacts.read_rows(sample / "edits.jsonl") if row["reason"] == "repeated_line"
    }
    assert removed <= set(TRUTH["boilerplate_lines"])


def test_only_boilerplate_and_pii_are_removed(sample: Path) -> None:
    before, after = texts(sample.parent / "ingest"), texts(sample)
    for source, text in after.items():
        lost = sum(len(line) for line in before[source].split("\n") if line not in TRUTH["boilerplate_lines"])
        assert len(text) > 0.97 * lost


def test_only_planted_pii_is_masked(sample: Path) -> None:
    after = texts(sample)
    for kind, mask in (("emails", "[email]"), ("phones", "[phone]")):
        planted = [each for each in TRUTH[kind] if each["path"] in after]
        for each in planted:
            assert each["value"] not in after[each["path"]]
        assert sum(text.count(mask) for text in after.values()) == len(planted)


def test_navigation_is_removed(sample: Path) -> None:
    left = {line.strip("- ") for text in texts(sample).values() for line in text.split("\n")}
    assert not left & {"Home", "Institutions", "Visit the Reading Room", "Accept"}


def test_metrics_match_the_journals(config: Config, tmp_path: Path) -> None:
    write(
        tmp_path / "in",
        *(f"{PROSE}Copy  {n}, cafÃ©.\n\nSame line\n\nx{n}@y.example" for n in range(5)),
        "word " * 99 + "word",
    )
    out = tmp_path / "out"
    out.mkdir()
    metrics = clean(tmp_path / "in", out, config.clean, Executor())
    assert metrics["documents"] == 5 and metrics["dropped"] == metrics["dropped_repetition"] == 1
    counted = {name.removeprefix("edited_"): count for name, count in metrics.items() if name.startswith("edited_")}
    listed = Counter(row["reason"] for row in artifacts.read_rows(out / "edits.jsonl"))
    assert listed == dict.fromkeys(("unicode", "space", "repeated_line", "email"), 5)
    assert {reason: count for reason, count in counted.items() if count} == listed


def test_drop_after_removed_lines_names_them(config: Config, tmp_path: Path) -> None:
    fact = "The station uses a Stevenson screen at a height of 1.25 metres."
    months = [
        f"{month} was mild and dry, with {count} days of rain and hardly a breath of wind before the very last week."
        for count, month in enumerate(("May", "June", "July", "August"), 2)
    ]
    write(tmp_path / "in", PROSE, *(f"{fact}\n\n{month}" for month in months))
    (tmp_path / "out").mkdir()
    clean(tmp_path / "in", tmp_path / "out", config.clean, Executor())
    details = {row["id"]: row["detail"] for row in artifacts.read_rows(tmp_path / "out/drops.jsonl")}
    edits = artifacts.read_rows(tmp_path / "out/edits.jsonl")
    without_fact = [row["id"] for row in edits if row["reason"] == "repeated_line"]
    assert without_fact == ["id2", "id3", "id4"] and details["id1"] == "33 words"
    assert {details[each] for each in without_fact} == {f"21 words; without 1 repeated line, such as {fact!r}"}


def test_pii_action_keep_and_drop(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "in", PROSE + "a@b.example", PROSE)
    kept = {}
    for rule in ("keep", "drop"):
        (tmp_path / rule).mkdir()
        clean(tmp_path / "in", tmp_path / rule, config.clean.model_copy(update={"pii_action": rule}), Executor())
        kept[rule] = list(texts(tmp_path / rule).values())
    assert "a@b.example" in kept["keep"][0] and len(kept["drop"]) == 1


def test_chinese_document_is_kept_if_its_language_is_allowed(config: Config, tmp_path: Path) -> None:
    chinese = (
        "本岛位于大陆以东十四英里。渡船每周三次往返于港口与大陆之间，冬季风大时停航。镇上的图书馆在山坡上。"
        "议员们坐在硬板凳上，谁说话的时间超过一支蜡烛燃烧的时间，谁就得为下一支付钱。守闸人在开闸之前敲两次钟，"
        "因为下面的水流很急，钟声要传到最远的船上。"
    )
    write(tmp_path / "in", *([PROSE + "End."] * 3), chinese)
    for languages, count in ((["en"], 3), (["en", "zh"], 4), ([], 4)):
        (tmp_path / str(count)).mkdir(exist_ok=True)
        settings = config.clean.model_copy(update={"languages": languages})
        assert clean(tmp_path / "in", tmp_path / str(count), settings, Executor())["documents"] == count


def test_dropping_all_documents_raises_error_with_reasons(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "in", "Too short.")
    with pytest.raises(UserError, match="few_words 1"):
        clean(tmp_path / "in", tmp_path, config.clean, Executor())


def test_custom_filter_drops_documents(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(
        "def unfriendly(text):\n    return 'shouting' if text.isupper() else None\n\nwords = 3\n\n"
        "def fails(text):\n    return text[10**6]\n\ndef score(text):\n    return 0.5\n"
    )
    (tmp_path / "broken_rules.py").write_text("limit = 1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path / "in", PROSE, PROSE.upper())
    settings = config.clean.model_copy(update={"custom_filter": "my_rules:unfriendly"})
    assert clean(tmp_path / "in", tmp_path, settings, Executor())["dropped_judged"] == 1
    (drop,) = artifacts.read_rows(tmp_path / "drops.jsonl")
    assert (drop["reason"], drop["detail"]) == ("judged", "shouting")
    for name, said in (
        ("my_rule:unfriendly", "cannot be imported"),
        ("broken_rules:unfriendly", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("my_rules:words", "names no function"),
        ("my_rules:fails", "my_rules:fails raised IndexError for 0"),
        ("my_rules:score", r"my_rules:score returned 0\.5 for 0.*; it must return a reason to drop it, or None"),
    ):
        with pytest.raises(UserError, match=said):
            clean(tmp_path / "in", tmp_path, config.clean.model_copy(update={"custom_filter": name}), Executor())
