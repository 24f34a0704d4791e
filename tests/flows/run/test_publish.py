"""Pages of a run in MLflow and Prefect, and the index page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.run import index_page
from flows.run.publish import published
from pipelines import artifacts, config
from pipelines.models.release import registry
from pipelines.runtime import tracking, tracking_store
from tests.flows.commands.test_diff_command import AFTER, BEFORE, register
from tests.flows.conftest import Project
from tests.flows.run.test_description import ORIGIN, promotion

pytestmark = pytest.mark.slow


@flow(name="published", validate_parameters=False)
def whole_run(parent: Any) -> None:
    """Simulate a run whose candidate was refused."""
    with published(parent, [], config.load()) as page:
        page.states, page.promotion = {"compare": "completed"}, promotion(False)


def test_verdict_is_published_on_every_page(fake: Project) -> None:
    store = tracking_store.client()
    artifacts.fresh("compare").joinpath("report.html").write_text("<title>Gradus: dpo against base</title>")
    with tracking.started("post_train", {"flow": "post_train"}) as parent:
        store.create_registered_model(registry.NAME)
        for _ in range(3):
            store.create_model_version(registry.NAME, "runs:/none/model")
        whole_run(parent)
    run = store.get_run(parent.id)
    assert run.info.run_name == "dpo 58.8% · not promoted"
    assert run.data.metrics["candidate/answer_accuracy"] == 0.588
    assert "It forgets too much." in run.data.tags["mlflow.note.content"]
    card = store.get_model_version(registry.NAME, "3").description
    assert "| dpo (candidate) |" in card and "about 30 more calibration questions" in card
    assert "The test questions were asked of 3 of 10 candidates" in card
    page = Path("artifacts/index.html").read_text()
    assert "It forgets too much." in page and 'href="compare/report.html">dpo against base<' in page
    assert "There is no champion yet." in page and "sft.tuning.method" in page
    assert "The test questions were asked of 3 of 10 candidates" in page and "<b>ppo</b>" in page
    assert index_page.PAGE.name in {each.path for each in store.list_artifacts(parent.id)}
    with get_client(sync_client=True) as client:
        published_artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["comparison"]))
        )
    assert "dpo (candidate)" in str(max(published_artifacts, key=lambda each: str(each.created)).data)


@pytest.mark.usefixtures("project")
def test_index_page_shows_what_changed_against_the_champion() -> None:
    artifacts.fresh("compare")
    register({}, "other questions")
    register(BEFORE, "one")
    register(AFTER, "one", wrong="1785")
    found = promotion(True)
    assert [len(pairs) for pairs in index_page.changed(found).values()] == [2, 1, 2, 3, 1]
    assert index_page.changed(replace(found, decision={"against_champion": None})) == {}
    page = index_page.write(found, config.load(), ORIGIN).read_text()
    assert "Against the champion, version 2" in page and "<b>Newly hallucinated: 2</b>" in page
    assert "fail, general: General accuracy 25.0%" in page
