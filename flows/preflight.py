"""What can be found wrong before anything starts: parameters, documents, and every file that the user wrote."""

from collections.abc import Iterable
from pathlib import Path

from flows.folder import check_names, check_repository
from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.evaluation import questions
from pipelines.synthesis import recipes
from pipelines.synthesis.own import nothing_written, own_rows
from pipelines.user_files import each_row, read_text


def check() -> Config:
    """Read params.yaml and the files it names, and look for documents, before anything starts.

    Raises:
        UserError: a parameter is wrong, a file cannot be read as what it should be, there is nothing to learn from, or
            DVC cannot work in this folder.
    """
    check_repository()
    settings = config.load()
    source = settings.ingest.source
    if not source.is_dir() or not any(artifacts.files(source)):
        raise UserError(
            f"{source} holds no documents; put some there, or set ingest.source in params.yaml "
            "(conversations of your own are trained on beside one document at least)."
        )
    check_names(source)
    _check_files(settings)
    return settings


def check_stages(names: Iterable[str], settings: Config) -> None:
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


def _check_files(settings: Config) -> None:
    """Parse every file of the user's that is there: a broken one would end a stage after those before it have run."""
    if settings.synthesize.prompts.is_dir():
        recipes.book(settings.synthesize.prompts, settings.synthesize.recipes)
    if settings.base.chat_template is not None and settings.base.chat_template.exists():
        read_text(settings.base.chat_template)
    _check_rows(settings.teacher.seeds, "passage", "question")
    _check_rows(settings.synthesize.tasks, "question", "answer")
    _check_rows(settings.synthesize.out_of_domain, "question")
    for path in sorted(settings.evaluate.questions.glob("*.jsonl")):
        _check_rows(path, "question")
    for folder in filter(None, (settings.curate.own, settings.preferences.human)):
        for path in sorted(folder.glob("*.jsonl")):
            _check_rows(path)


def _check_rows(path: Path, *texts: str) -> None:
    """Parse a JSONL file; a missing one is reported by the stage that needs it, in its first second."""
    for _ in each_row(path, texts) if path.exists() else ():
        pass
