"""Publish a flow run: name, parameters, data and description in MLflow, name and comparison in Prefect, index page.

Writes to MLflow, Prefect and artifacts/index.html; flows/run/description.py composes the texts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.dag import dvc_lock, git_state
from flows.promotion.promote import Promotion
from flows.run import description, index_page
from flows.run.description import Origin
from flows.run.errors import StageError
from flows.serve.prefect_server import HOST, announced
from pipelines import config
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.confidence.calibration import Confidence
from pipelines.models.release import registry
from pipelines.runtime import tracking, tracking_store

PREFECT, MLFLOW = f"http://{HOST}:4200", f"http://{HOST}:5000"
"""Default addresses of `gradus up` and `gradus ui`."""


@dataclass
class Page:
    """The outcome of a run, published when it ends."""

    states: Mapping[str, str] = field(default_factory=dict)
    promotion: Promotion | None = None


@contextmanager
def published(parent: tracking.Run, targets: list[str], settings: Config) -> Iterator[Page]:
    """Name and describe the run: as running on entry, by its outcome on exit."""
    page = Page()
    origin = _origin(parent)
    _name(parent, description.running(targets), description.description(targets, None, {}, origin))
    parent.params(config.flat(settings))
    try:
        yield page
    except BaseException as error:
        failed = error.stage if isinstance(error, StageError) else None
        _name(parent, description.broken(targets, failed), description.description(targets, None, page.states, origin))
        raise
    _data(parent, settings, page.states)
    text = description.description(targets, page.promotion, page.states, origin)
    name = description.name(targets, page.promotion)
    _name(parent, name, text)
    _in_prefect(text, origin, parent)
    if page.promotion is not None:
        _promoted(parent, page.promotion, settings, origin)


def _origin(parent: tracking.Run) -> Origin:
    tags = git_state.tags()
    prefect = (announced() or PREFECT).removesuffix("/api")
    return Origin(
        commit=tags["commit"],
        branch=tags["mlflow.source.git.branch"],
        dirty=tags["dirty"] == "True",
        flow_run=str(flow_run.get_name() or "none"),
        prefect=f"{prefect}/runs/flow-run/{tags['flow_run']}",
        mlflow=tracking_store.page_of(parent.id, MLFLOW) if parent.id else "",
    )


def _name(parent: tracking.Run, name: str, text: str) -> None:
    """Set the name of the run in MLflow and Prefect, and its description in MLflow."""
    parent.page(name, text)
    if run_id := flow_run.get_id():
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run_id), name=name if parent.id else f"nothing new · {name}")


def _data(parent: tracking.Run, settings: Config, states: Mapping[str, str]) -> None:
    """Log the documents and questions that the run has read as its data sets."""
    asked = next((stage for stage in states if stage.startswith("evaluate@")), "")
    for stage, path, use in (
        ("ingest", settings.ingest.source, "training"),
        *((asked, folder, "evaluation") for folder in questions.folders(settings.evaluate.questions)),
    ):
        known = dvc_lock.read_by(stage) if stage in states else {}
        if path.as_posix() in known:
            parent.inputs({path.as_posix(): known[path.as_posix()]}, use)


def _in_prefect(text: str, origin: Origin, parent: tracking.Run) -> None:
    get_run_logger().info(text)
    create_markdown_artifact(text, key="comparison", description="Comparison of the models of the run.")
    if parent.id:
        create_link_artifact(origin.mlflow, link_text="This run in MLflow", key="mlflow")


def _promoted(parent: tracking.Run, promotion: Promotion, settings: Config, origin: Origin) -> None:
    """Log the candidate's metrics, and write the description of the version and the index page."""
    parent.metrics(description.figures(promotion))
    facts = {
        "model": promotion.candidate,
        "base": settings.base.model,
        "documents": settings.ingest.source.as_posix(),
        "abstention": Confidence.of(promotion.comparison["confidence"]).sentence,
        "commit": f"{origin.commit[:10]}{' with uncommitted changes' if origin.dirty else ''}",
        "licence": "that of the base model and of the documents",
    }
    registry.write_card(promotion.version, description.card(promotion, facts))
    parent.artifact(index_page.write(promotion, settings, origin))
