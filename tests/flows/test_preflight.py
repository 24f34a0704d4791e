"""What is refused before anything is computed."""

from pathlib import Path

import pytest

from flows.preflight import check_stages
from pipelines import artifacts
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.evaluation.questions import SETS, SPLITS


def questions(folder: Path, names: tuple[str, ...] = SETS) -> None:
    folder.mkdir(parents=True)
    for name in names:
        rows = [{"id": f"{name}-{split}", "question": "Who?", "answer": "Drace", "split": split} for split in SPLITS]
        artifacts.write_rows(folder / f"{name}.jsonl", rows)


def test_incomplete_questions_are_refused_before_anything_that_leads_to_an_evaluation(config: Config) -> None:
    questions(config.evaluate.questions, SETS[:2])
    check_stages(["split", "curate"], config)
    with pytest.raises(UserError, match=r"general\.jsonl"):
        check_stages(["split", "evaluate@base"], config)


def test_without_a_writer_there_must_be_conversations(config: Config) -> None:
    values = config.model_dump(mode="json")
    values["teacher"]["roles"] = {"writer": None, "reader": None, "judge": None}
    silent = Config.model_validate(values)
    assert not silent.teacher.schooled and not silent.writes_questions
    check_stages(["split"], silent)
    with pytest.raises(UserError, match="data/own holds no conversation"):
        check_stages(["curate"], silent)
    config.curate.own.mkdir(parents=True)
    chat = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Plum."}]
    artifacts.write_rows(config.curate.own / "mine.jsonl", [{"messages": chat}])
    check_stages(["curate"], silent)
