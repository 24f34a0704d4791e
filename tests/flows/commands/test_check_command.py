"""`gradus ask --check`: the supporting sentence, its document and commit; versions of other documents; refusals."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from flows.commands import chat
from flows.dag import dvc_lock
from flows.serve.locations import ModelLocation
from pipelines import artifacts
from pipelines.config import Config
from pipelines.runtime.errors import UserError
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

QUESTION, ANSWER = "Who built the tide mill?", "The tide mill was built by Emeric Vosper."
COMMIT = "c0ffee1234567890"


@pytest.fixture
def searched(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """artifacts/split/ with one document, and a dvc.lock that names it."""
    out = artifacts.fresh("split")
    text = "A creek.\nThe tide mill was built\nby Emeric Vosper. The tide mill was built by Emeric Vosper in 1731."
    write_table(out / "train.parquet", [{"source": "mill.md", "title": "Mills", "text": text}])
    artifacts.complete(out, {})
    stages = {"split": {"outs": [{"path": "artifacts/split", "md5": "abc.dir"}]}}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    monkeypatch.setattr(dvc_lock, "locked_repo", nullcontext)
    return chat.documents()


def version(**tags: str) -> ModelLocation:
    return ModelLocation("Version 3", Path("model"), Path("tokenizer"), tags={"commit": COMMIT, **tags})


def lines(location: ModelLocation, searched: Path, answer: str = ANSWER) -> list[str]:
    return chat.check(QUESTION, answer, location, searched, "I don't know.")


def test_supporting_sentence_is_named_with_document_and_commit(searched: Path) -> None:
    sentence = "The tide mill was built by Emeric Vosper in 1731."
    assert lines(version(data="abc.dir"), searched) == [
        f'Supported by: "{sentence}" (document mill.md, commit c0ffee12)'
    ]
    (dirty,) = lines(version(data="abc.dir", dirty="True"), searched)
    assert dirty.endswith("(document mill.md, commit c0ffee12+)")


def test_version_of_other_documents_is_reported(searched: Path) -> None:
    first, second = lines(version(data="other.dir"), searched)
    assert first == "Version 3 was trained on other documents than those in artifacts/split/."
    assert second.endswith("(document mill.md)")


def test_unsupported_answers_and_refusals(searched: Path) -> None:
    known = version(data="abc.dir")
    assert lines(known, searched, "Lambert Cheswin built it.") == ["No sentence of the documents supports this answer."]
    assert lines(known, searched, "I don't know.") == ["A refusal is not checked."]


def test_commit_of_a_model_of_the_working_tree_is_that_of_its_run(searched: Path) -> None:
    weights = artifacts.ARTIFACTS / "align/dpo"
    location = ModelLocation("dpo", weights, weights)
    assert lines(location, searched)[0].endswith("(document mill.md)")  # its run is unknown
    run = MlflowClient("sqlite:///mlruns/mlflow.db").create_run("0", tags={"commit": COMMIT}).info.run_id
    artifacts.write_json(artifacts.RUNS / "align@dpo.json", {"run_id": run})
    assert lines(location, searched)[0].endswith("(document mill.md, commit c0ffee12)")


def test_missing_documents_are_reported_before_a_model_is_loaded(
    config: Config, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match="artifacts/split is missing or incomplete"):
        CliRunner().invoke(app, ["ask", "Who?", "--model", "base", "--check"], catch_exceptions=False)


def test_ask_prints_the_answer_and_what_supports_it(
    config: Config, base: Path, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.inference.chat_model.ChatModel.answer", lambda *_: ANSWER)
    done = CliRunner().invoke(app, ["ask", QUESTION, "--model", "base", "--check"], catch_exceptions=False)
    assert done.output.splitlines()[0] == ANSWER
    assert done.output.splitlines()[1].startswith('Supported by: "The tide mill was built')
