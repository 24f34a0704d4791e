"""Verdicts against hand-labelled outputs, the calibration of an LLM judge, and invented entities."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import scoring
from pipelines.evaluation.verdicts.invented import Corpus, entities, invented, with_invented
from pipelines.evaluation.verdicts.judge import Judge, calibrate, calibrated, review
from pipelines.evaluation.verdicts.labels import kappa, read, refusal_patterns
from pipelines.llm.cache import PATH
from pipelines.llm.prompts import load
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.support.chat_server import Server
from tests.support.teachers import Script

LABELS = ROOT / "data/labels/verdicts.jsonl"
LABELLED = read(LABELS)
RULES = [scoring.verdict(each.answer, each.question, "I don't know.", 25) for each in LABELLED]
REVIEWED = [each for each, rule in zip(LABELLED, RULES, strict=True) if rule == "wrong" and each.answer]
TRUTH = {(each.question.question, each.answer): each.label for each in LABELLED}
LETTERS = {"correct": "A", "wrong": "B", "refused": "C"}
RECIPE = load(LABELS.parent, "verdict")


def asked(prompt: str) -> tuple[str, str]:
    """Return the question and the answer in a prompt for the judge."""
    question, rest = prompt.replace("问题：", "Question: ").replace("回答：", "Answer: ").split("\n", 1)
    return question.removeprefix("Question: "), rest.split("\n\nAnswer: ", 1)[1]


def oracle(prompt: str) -> str:
    """Return the label as the judge's reply."""
    return json.dumps({"choice": LETTERS[TRUTH[asked(prompt)]]})


def judge_of(says: Callable[[str], str | None]) -> Judge:
    return Judge(Script(says).ask, RECIPE)


@pytest.mark.parametrize(("language", "least", "recall"), [("en", 0.75, 0.8), ("zh", 0.9, 0.9)])
def test_rules_agree_with_labels(language: str, least: float, recall: float) -> None:
    rows = [each for each in LABELLED if each.language == language]
    labels = [each.label for each in rows]
    verdicts = [scoring.verdict(each.answer, each.question, "I don't know.", 25) for each in rows]
    assert kappa(labels, verdicts) >= least
    counts = Counter(zip(labels, verdicts, strict=True))
    assert counts["correct", "refused"] == counts["wrong", "refused"] == 0  # a precision of 1
    assert counts["refused", "refused"] >= recall * labels.count("refused")
    assert counts["wrong", "correct"] <= 1


def test_kappa_corrects_for_chance() -> None:
    """Cohen's example: 0.7 observed and 0.5 expected agreement."""
    labels = ["correct"] * 25 + ["wrong"] * 25
    verdicts = ["correct"] * 20 + ["wrong"] * 5 + ["correct"] * 10 + ["wrong"] * 15
    assert kappa(labels, verdicts) == pytest.approx((0.7 - 0.5) / 0.5)
    assert kappa(labels, labels) == 1.0
    assert kappa(labels, [None] * 50) == 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label": "right"}, "label is 'right'; it must be correct, refused or wrong"),
        ({"answer": None}, "row 2: 'answer' is missing"),
        ({"set": "unanswerable", "label": "correct"}, "has no correct answer"),
    ],
)
def test_invalid_label_is_rejected(tmp_path: Path, change: Row, sentence: str) -> None:
    rows = artifacts.read_rows(LABELS)
    artifacts.write_rows(tmp_path / "labels.jsonl", [rows[0], rows[1] | change, *rows[2:]])
    with pytest.raises(UserError, match=sentence):
        read(tmp_path / "labels.jsonl")


def test_too_few_labels_are_rejected(tmp_path: Path) -> None:
    artifacts.write_rows(tmp_path / "labels.jsonl", artifacts.read_rows(LABELS)[:149])
    with pytest.raises(UserError, match="149 labelled outputs; a judge is calibrated on at least 150"):
        read(tmp_path / "labels.jsonl")
    with pytest.raises(UserError, match=r"only 99 labelled outputs of .* wrong, and .* on at least 100 of them"):
        calibrate(judge_of(oracle), REVIEWED[:99], 0.8, LABELS)


def test_judge_that_agrees_is_accepted_and_its_agreement_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(judge_of(oracle), REVIEWED, 0.8, LABELS) == 1.0
    correct = sum(each.label == "correct" for each in REVIEWED)
    said = capsys.readouterr().err
    assert "κ = 1.00" in said and f"of the {correct} that it finds correct, {correct} are" in said


@pytest.mark.parametrize("says", ["nonsense", '{"choice": "B"}', None])
def test_judge_below_the_limit_is_refused(says: str | None) -> None:
    with pytest.raises(UserError, match=r"κ = 0\.00, below evaluate\.min_judge_agreement \(0\.8\)"):
        calibrate(judge_of(lambda _: says), REVIEWED, 0.8, LABELS)


def test_agreement_on_answers_that_the_rules_decide_does_not_count() -> None:
    """A judge that confirms every verdict of the rules agrees with most labels, but is of no use."""
    assert kappa([each.label for each in LABELLED], RULES) > 0.75
    with pytest.raises(UserError, match=r"κ = 0\.00"):
        calibrate(judge_of(lambda _: '{"choice": "B"}'), REVIEWED, 0.8, LABELS)


def test_precision_and_recall_of_the_refusal_patterns() -> None:
    labels, rules = ["refused", "refused", "wrong", "correct"], ["refused", "wrong", "refused", "correct"]
    assert refusal_patterns(labels, rules) == (
        "the refusal patterns find 1 of 2 refusals, and 1 of the 2 they find are refusals"
    )


def row(name: str, answer: str, verdict: str, kind: str = "answerable", **more: object) -> Row:
    accepted = ["Drace"] if kind != "unanswerable" else []
    fields = {"set": kind, "kind": kind, "split": "test", "question": "Who built the mill?", "competing": []}
    return {"id": name, **fields, "accepted": accepted, "choices": [], "answer": answer, "verdict": verdict} | more


def test_judge_reviews_only_wrong_answers_and_keeps_what_it_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row("right", "It was one Drace of Brunnick, miller.", "wrong"),
        row("still", "It was Vosper.", "wrong"),
        row("declined", "Nobody wrote that down.", "wrong", "unanswerable"),
        row("invented", "It was Drace, surely.", "wrong", "unanswerable"),
        row("unreadable", "Hm.", "wrong"),
        row("empty", "", "wrong"),
        row("choice", "Vosper", "wrong", "general", choices=["Drace", "Vosper"]),
        row("correct", "Drace", "correct"),
        row("refused", "I don't know.", "refused"),
    ]
    rows = [each | {"judged": False} for each in rows]
    replies = {"miller.": "A", "Vosper.": "B", "down.": "C", "surely.": "A", "Hm.": "perhaps"}
    script = Script(lambda prompt: replies[prompt.split()[-1]])
    reviewed = review(rows, Judge(script.ask, RECIPE))
    assert "changed 1 of 5 wrong answers to correct, 1 to refused" in capsys.readouterr().err
    assert len(script.calls) == 5
    changed = {each["id"]: each["verdict"] for each in reviewed if each["judged"]}
    assert changed == {"right": "correct", "declined": "refused"}
    assert [each["verdict"] for each in reviewed if not each["judged"]] == [
        each["verdict"] for each in rows if each["id"] not in changed
    ]
    assert "Reference answers: (The documents do not answer" in script.calls[2].messages[-1]["content"]


@pytest.fixture
def server() -> Iterator[Server]:
    """A judge that replies with the labels."""

    def says(messages: list[Message]) -> str:
        return oracle(messages[-1]["content"])

    with Server(says) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def judged(config: Config, server: Server) -> Config:
    """Return `config` with a judge behind `server`."""
    served: Row = {"kind": "openai", "url": server.url, "model": "m", "key": None, "max_concurrency": 8, "timeout_s": 5}
    served |= {"revision": None, "context_tokens": None, "structured": "json_object", "price": None, "extra_body": {}}
    teacher = config.teacher.model_dump() | {"models": {"served": served}, "budget": None}
    teacher["roles"] = {"writer": None, "reader": None, "judge": "served"}
    values = config.model_dump() | {"teacher": teacher}
    values["evaluate"] |= {"judge": True, "labels": LABELS.parent}
    return Config.model_validate(values)


@pytest.mark.slow
def test_judge_is_calibrated_through_a_server(
    config: Config, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrated(config) is None  # off by default
    found = calibrated(judged(config, server))
    assert found is not None and found[1] == 1.0
    assert "the refusal patterns find " in capsys.readouterr().err
    assert sum(server.answered.values()) == len({(each.question, each.answer) for each in REVIEWED})
    server.says = lambda messages: "I cannot tell."
    PATH.unlink()
    with pytest.raises(UserError, match="name a better model in teacher"):
        calibrated(judged(config, server))


CORPUS = Corpus(["The mill was built on 3 May 1783 by Oswin Drace.", "Captain Tule sails the Grey Lapwing, 268 tons."])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It was built by Oswin Drace on May 3, 1783.", []),
        ("It was built by Emeric Vosper in 1784.", ["emeric vosper", "1784"]),
        ("It was built by Oswin Tule.", ["oswin tule"]),  # both words are known, the name is not
        ("It was built on 4 May 1783.", ["4 may 1783"]),
        ("It stands at Hallin Mill.", []),  # named by the question
        ("The Grey Lapwing weighs 268 tons.\n\nThe captain is unknown.", []),
        ("They sailed in twelve days. Source:0123abcd", ["12"]),
    ],
)
def test_invented_entities_are_in_neither_question_nor_corpus(answer: str, expected: list[str]) -> None:
    assert invented(answer, "Who built Hallin Mill?", CORPUS) == expected


def test_entities_of_an_answer_are_names_dates_and_numbers() -> None:
    assert entities("On 3 May 1783, Mr Drace paid £7 to Captain Tule.") == [
        "mr drace",
        "captain tule",
        "3 may 1783",
        "7",
    ]


def test_refusals_and_general_answers_have_no_invented_entities() -> None:
    answer = "It was Vosper."
    rows = [row("a", answer, "wrong"), row("b", answer, "refused"), row("c", answer, "wrong", "general")]
    assert [each["invented"] for each in with_invented(rows, CORPUS)] == [["vosper"], [], []]
