"""What can be known to be wrong before anything is computed, or anything slow is imported."""

from collections.abc import Iterable

from pipelines import artifacts, config
from pipelines.errors import UserError
from pipelines.evaluation import questions
from pipelines.synthesis.own import nothing_written, own_rows


def check() -> config.Config:
    """Read params.yaml and look for documents, before anything starts.

    Raises:
        UserError: a parameter is wrong, or there is nothing to learn from.
    """
    settings = config.load()
    source = settings.ingest.source
    if not source.is_dir() or not any(artifacts.files(source)):
        raise UserError(
            f"{source} holds no documents; put some there, or set ingest.source in params.yaml "
            "(conversations of your own are trained on beside one document at least)."
        )
    return settings


def check_stages(names: Iterable[str], settings: config.Config) -> None:
    """Look for what the stages `names` will need, which the first of them to miss it would find hours later.

    Raises:
        UserError: the questions that models are evaluated on are incomplete, or there is nothing to train on.
    """
    needed = {name.split("@")[0] for name in names}
    if "evaluate" in needed:
        questions.load(settings.evaluate.questions)
    own = settings.curate.own
    if "curate" in needed and not settings.writes_questions and not own_rows(own)[0]:
        raise UserError(nothing_written(own))
