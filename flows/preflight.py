"""What can be found wrong before anything starts: versions, parameters, documents, and the user's files."""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows import sample
from flows.folder import check_names, check_repository
from pipelines import artifacts, config
from pipelines.config import Config
from pipelines.curation.user_data import nothing_written, user_rows
from pipelines.evaluation import questions
from pipelines.llm import prompts
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.user_files import each_row, read_text


def check() -> Config:
    """Read params.yaml and the files it names, and look for documents, before anything starts.

    Raises:
        UserError: a parameter is wrong, a file cannot be read as what it should be, there is nothing to learn from, or
            DVC cannot work in this folder.
    """
    check_repository()
    check_versions()
    settings = config.load()
    code_lock.refresh()
    source = settings.ingest.source
    if not source.is_dir() or not any(artifacts.files(source)):
        raise UserError(
            f"{source} holds no documents; put some there, or set ingest.source in params.yaml "
            "(conversations of your own are trained on beside one document at least)."
        )
    check_names(source)
    _make_folders(settings)
    _check_files(settings)
    return settings


def check_stages(names: Iterable[str], settings: Config) -> None:
    """Look for what the stages `names` will need, which the first of them to miss it would find hours later.

    Raises:
        UserError: the questions that models are evaluated on are incomplete, or there is nothing to train on.
    """
    needed = {name.split("@")[0] for name in names}
    if "evaluate" in needed:
        _check_questions(settings.evaluate.questions, settings.ingest.source)
    own = settings.curate.user_data
    if "curate" in needed and not settings.writes_questions and not user_rows(own)[0]:
        raise UserError(nothing_written(own))


def _check_questions(folder: Path, documents: Path) -> None:
    """Look whether models can be measured, and say what cannot be."""
    if named := sample.elsewhere(folder, documents):
        whose = "the sample's" if sample.questions(folder) else "about other documents"
        raise UserError(
            f"The questions in {folder} are {whose}: {named[0]} and whatever else they name is not in {documents}. "
            f"Put yours in their place (`gradus init {documents}` sets the sample's aside; docs/data.md), or train "
            "without measuring: `gradus run sft`."
        )
    if missing := questions.unmeasured(questions.load(folder)):
        say(f"{folder} has no {' and no '.join(missing)} test question: what they measure keeps the gate shut.")


def check_versions(project: Path = Path("pyproject.toml")) -> None:
    """Check that the libraries which can change a result are those that the project declares.

    Raises:
        UserError: some are not.
    """
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    declared = tomllib.loads(text).get("tool", {}).get("gradus", {}).get("versions", {})
    installed = {name: _installed(name) for name in declared}
    other = {name: has for name, has in installed.items() if has is not None and has != declared[name]}
    if other:
        found = ", ".join(f"{name} {has} instead of {declared[name]}" for name, has in other.items())
        wanted = " ".join(f"{name}=={declared[name]}" for name in other)
        raise UserError(
            f"Installed are {found}, and results depend on these: `{sys.executable} -m pip install {wanted}`, "
            "or declare what is installed in pyproject.toml, [tool.gradus.versions], and what it may change runs anew."
        )


def _installed(name: str) -> str | None:
    """Return the version of a library, without the label of its build (`+cpu`); None when it is not there."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:  # an optional one
        return None


def _make_folders(settings: Config) -> None:
    """Make the folders that may be empty: DVC does not run a stage when one that it reads is not there."""
    split, own = settings.split, (settings.curate.user_data, settings.pretrain.mixture)
    read = (split.questions, split.decontaminate.against, settings.evaluate.questions, settings.preferences.choices)
    for folder in (*read, *own):
        folder.mkdir(parents=True, exist_ok=True)


def _check_files(settings: Config) -> None:
    """Parse every file of the user's that is there: a broken one would end a stage after those before it have run."""
    if settings.synthesize.prompts.is_dir():
        prompts.load_library(settings.synthesize.prompts, settings.synthesize.recipes)
    if settings.base.chat_template is not None and settings.base.chat_template.exists():
        read_text(settings.base.chat_template)
    _check_rows(settings.teacher.seeds, "passage", "question")
    _check_rows(settings.synthesize.tasks, "question", "answer")
    _check_rows(settings.synthesize.out_of_domain, "question")
    for path in sorted(settings.evaluate.questions.glob("*.jsonl")):
        _check_rows(path, "question")
    for folder in filter(None, (settings.curate.user_data, settings.preferences.human)):
        for path in sorted(folder.glob("*.jsonl")):
            _check_rows(path)


def _check_rows(path: Path, *texts: str) -> None:
    """Parse a JSONL file; a missing one is reported by the stage that needs it, in its first second."""
    for _ in each_row(path, texts) if path.exists() else ():
        pass
