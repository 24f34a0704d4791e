"""Answers with their confidence: shown, withheld below the threshold, and absent without calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.serve.answering import Answer, Answerer
from flows.serve.locations import ModelLocation
from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation.confidence import reader as readers
from pipelines.inference.chat_model import ChatModel
from pipelines.models.messages import Message
from tests.conftest import ROOT
from tests.support.confidences import confidence_json
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

QUESTION = "Who built the tide mill?"
STATED, INVENTED = "The tide mill was built by Emeric Vosper.", "Lambert Cheswin sold a bakery."
REFUSAL = "I don't know."


@pytest.fixture
def documents(project: Path) -> Path:
    path = artifacts.fresh("split") / "train.parquet"
    text = "The tide mill was built by Emeric Vosper. The ferry sails on Saturdays."
    write_table(path, [{"source": "mill.md", "title": "Mills", "text": text}])
    return path


def answer(
    config: Config,
    base: Path,
    documents: Path,
    said: str,
    guess: bool = False,
    earlier: Sequence[Message] = (),
    **found: Any,
) -> Answer:
    """Return the answer of a model that says `said`, after the `earlier` messages."""
    model = ChatModel(base, base, config.compute, config.evaluate.decoding)
    model.answer = lambda messages: said  # type: ignore[method-assign]
    location = ModelLocation("sft", base, base, documents=documents, **found)
    return Answerer(model, location, config).answer([*earlier, {"role": "user", "content": QUESTION}], guess)


def test_a_supported_answer_is_given_with_its_confidence(config: Config, base: Path, documents: Path) -> None:
    found = answer(config, base, documents, STATED, confidence=confidence_json(0.7))
    assert found == Answer(STATED, "Confidence 1.00.")


def test_an_answer_below_the_threshold_is_withheld_unless_a_guess_is_wanted(
    config: Config, base: Path, documents: Path
) -> None:
    known: dict[str, Any] = {"confidence": confidence_json(0.7)}
    withheld = answer(config, base, documents, INVENTED, **known)
    assert withheld.text == REFUSAL
    assert withheld.note.startswith("An answer with confidence 0.00 was withheld; `gradus ask --guess` shows it.")
    assert answer(config, base, documents, INVENTED, guess=True, **known) == Answer(INVENTED, "Confidence 0.00.")
    uncertified = answer(config, base, documents, INVENTED, confidence=confidence_json(None))
    assert uncertified.text == REFUSAL, "answering does not pay at this confidence, which needs no certificate"


def test_refusals_and_models_without_calibration_have_no_confidence(
    config: Config, base: Path, documents: Path
) -> None:
    assert answer(config, base, documents, REFUSAL, confidence=confidence_json(0.7)) == Answer(REFUSAL, "")
    assert answer(config, base, documents, INVENTED) == Answer(INVENTED, "")
    gone = answer(config, base, documents.with_name("gone.parquet"), INVENTED, confidence=confidence_json(0.7))
    assert gone == Answer(INVENTED, "")
    unfitted = {**confidence_json(None), "estimator": None}
    assert answer(config, base, documents, INVENTED, confidence=unfitted) == Answer(INVENTED, "")


def test_a_follow_up_question_has_no_confidence(config: Config, base: Path, documents: Path) -> None:
    earlier: list[Message] = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": STATED}]
    found = answer(config, base, documents, INVENTED, earlier=earlier, confidence=confidence_json(0.7))
    assert found == Answer(INVENTED, "")


def test_confidence_that_depends_on_a_reader_needs_it(config: Config, base: Path, documents: Path) -> None:
    known = confidence_json(0.7, signal="reading")
    reader = readers.store(base, ROOT / "data/prompts", artifacts.fresh("calibrate") / "reader")
    withheld = answer(config, base, documents, INVENTED, confidence=known, reader=reader)
    assert withheld.text == REFUSAL and "withheld" in withheld.note
    missing = answer(config, base, documents, INVENTED, confidence=known, reader=reader.with_name("gone"))
    assert missing == Answer(INVENTED, "")


def test_confidence_from_signals_that_no_longer_exist_is_not_applied(
    config: Config, base: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = confidence_json(0.7)
    known["estimator"]["signals"][-1] = "not_stated"
    assert answer(config, base, documents, INVENTED, confidence=known) == Answer(INVENTED, "")
    assert "calibrated by an earlier version of Gradus" in capsys.readouterr().err


def test_ask_reads_the_calibration_of_the_candidate_in_the_working_tree(
    config: Config, base: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatModel, "answer", lambda *_: INVENTED)
    calibrated = artifacts.fresh("calibrate")
    artifacts.write_json(calibrated / "confidence.json", confidence_json(0.7, candidate="base"))
    artifacts.complete(calibrated, {})

    def ask(*flags: str) -> str:
        done = CliRunner().invoke(app, ["ask", QUESTION, "--model", "base", *flags], catch_exceptions=False)
        return done.output

    assert ask().splitlines()[0] == REFUSAL
    assert "`gradus ask --guess` shows it" in ask().replace("\n", " ")
    assert ask("--guess").splitlines()[0] == INVENTED
    artifacts.write_json(calibrated / "confidence.json", confidence_json(0.7, candidate="dpo"))
    assert ask().splitlines() == [INVENTED]
