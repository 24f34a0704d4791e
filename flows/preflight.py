"""Checks before a run starts: library versions, parameters, documents and user-provided files."""

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows import sample
from flows.folder import check_names, check_repository
from pipelines import artifacts, config, user_functions
from pipelines.alignment.rows import JUDGE_PROMPTS
from pipelines.config import Config
from pipelines.curation.user_data import nothing_written, user_rows
from pipelines.evaluation import questions
from pipelines.evaluation.statistics import sample_size
from pipelines.llm import prompts
from pipelines.models.task_adapters import store
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.synthesis.candidate import SHORT_ANSWER
from pipelines.user_files import each_row, read_text


def check() -> Config:
    """Validate params.yaml, the files it names and the documents before anything starts.

    Raises:
        UserError: a parameter or a file is invalid, there are no documents, or DVC cannot work in this folder.
    """
    check_repository()
    check_versions()
    settings = config.load()
    code_lock.refresh()
    source = settings.ingest.source
    if not source.is_dir() or not any(artifacts.files(source)):
        raise UserError(
            f"{source} holds no documents; put some there, or set ingest.source in params.yaml "
            "(user-provided conversations are used only with at least one document)."
        )
    check_names(source)
    _make_folders(settings)
    _check_files(settings)
    _check_functions(settings)
    return settings


def check_stages(names: Iterable[str], settings: Config) -> None:
    """Check the inputs that the stages `names` need, instead of failing hours into the run.

    Raises:
        UserError: the evaluation questions are incomplete or name a missing document, there is nothing to train on,
            task adapters cannot be combined, or online training cannot copy its adapter.
    """
    stages = [name.partition("@") for name in names]
    needed = {task for task, _, _ in stages}
    if "split" in needed:
        _check_sources(settings)
    if "evaluate" in needed:
        _check_questions(settings)
    if "combine" in needed:
        store.check_combination(settings.combine)
    for task, _, row in stages:
        if task == "rl":
            _check_copies(row, settings)
    user_data = settings.curate.user_data
    if "curate" in needed and not settings.writes_questions and not user_rows(user_data)[0]:
        raise UserError(nothing_written(user_data))


def _check_copies(row: str, settings: Config) -> None:
    """Check that online training can copy its adapter: that of `sft`, if it is PEFT's, which each stage continues."""
    rows, policy = settings.alignment.rows, settings.alignment.rl[row].policy
    start = policy
    while start in rows:
        start = rows[start].policy
    continued = start == "sft" and settings.sft.tuning.peft
    tuning, name = (settings.sft.tuning, "sft") if continued else (settings.align.tuning, "align")
    tuning.check_copies(f"rl@{row}", f"{name}.tuning.method", saved=continued or policy != start)


def _check_questions(settings: Config) -> None:
    """Check that the questions allow an evaluation; warn about metrics that cannot be computed or decide nothing."""
    check_subject(settings)
    folder = settings.evaluate.questions
    rows = questions.read(folder)
    asked, missing_splits = questions.check(rows, folder), questions.splits_without_questions(rows)
    if missing_splits and _holds_back(settings):
        say(
            f"{folder} has no answerable {' and no '.join(missing_splits)} question: models are measured on "
            "synthesised ones that training does not see, which helps to choose a model, not to promote it. "
            "`gradus questions` drafts some for you to accept."
        )
    else:
        questions.require_splits(rows, folder)
    if questions.TEST in missing_splits:
        return
    if missing := questions.unmeasured(asked):
        say(f"{folder} has no {' and no '.join(missing)} test question: without it no model can be promoted.")
    counts = Counter(question.set for question in asked if question.split == questions.SPLITS[-1])
    for sentence in sample_size.too_small(counts, settings.compare):
        say(f"{folder}: {sentence}")


def _holds_back(settings: Config) -> bool:
    """Return whether `curate` can hold questions back: a recipe must write some with a short answer."""
    recipes = settings.synthesize.recipes if settings.writes_questions and settings.curate.calibration_share else ()
    return any(prompts.load(settings.synthesize.prompts, name).makes in SHORT_ANSWER for name in recipes)


def _check_sources(settings: Config) -> None:
    """Check that every document exists that the questions name, which `split` needs for training."""
    folder, documents = settings.split.questions, settings.ingest.source
    for source, file in sample.missing(folder, documents).items():
        raise UserError(
            f"{file} names the source {source!r}, which is not in {documents}; correct the path in the question, or "
            "restore the document."
        )


def check_subject(settings: Config) -> None:
    """Check that the evaluation questions are about the present documents.

    Raises:
        UserError: none of the documents that they name exists.
    """
    folder, documents = settings.evaluate.questions, settings.ingest.source
    if named := sample.elsewhere(folder, documents):
        whose = "the sample's" if sample.questions(folder) else "about other documents"
        raise UserError(
            f"The questions in {folder} are {whose}: {named[0]} and the other sources they name are not in "
            f"{documents}. Replace them with your own (`gradus init {documents}` moves the sample's away; see "
            "docs/data.md), or train without an evaluation: `gradus run sft`."
        )


def check_versions(project: Path = Path("pyproject.toml")) -> None:
    """Check that the installed versions of libraries that affect results are the declared ones.

    Raises:
        UserError: some versions differ.
    """
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    declared = tomllib.loads(text).get("tool", {}).get("gradus", {}).get("versions", {})
    installed = {name: _installed(name) for name in declared}
    other = {name: has for name, has in installed.items() if has is not None and has != declared[name]}
    if other:
        differing = ", ".join(f"{name} {has} instead of {declared[name]}" for name, has in other.items())
        wanted = " ".join(f"{name}=={declared[name]}" for name in other)
        raise UserError(
            f"Results depend on library versions, and installed are {differing}: run `{sys.executable} -m pip install "
            f"{wanted}`, or declare the installed versions in pyproject.toml, [tool.gradus.versions], which reruns the "
            "stages that use them."
        )


def _installed(name: str) -> str | None:
    """Return the installed version of a library without its build label (`+cpu`); None when it is not installed."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:  # optional dependency
        return None


def _make_folders(settings: Config) -> None:
    """Create input folders that may be empty: DVC does not run a stage when a dependency is missing."""
    split, user_folders = settings.split, (settings.curate.user_data, settings.pretrain.mixture)
    rankers = (settings.pairs.inputs / row.ranker for row in settings.alignment.pairs.values())
    read = (split.questions, split.decontaminate.against, settings.evaluate.questions, *rankers)
    for folder in (*read, *user_folders):
        folder.mkdir(parents=True, exist_ok=True)


def _check_files(settings: Config) -> None:
    """Parse every user-provided file, so that a malformed one does not fail a stage late in the run."""
    if settings.synthesize.prompts.is_dir():
        prompts.load_library(settings.synthesize.prompts, settings.synthesize.recipes)
    if settings.base.chat_template is not None and settings.base.chat_template.exists():
        read_text(settings.base.chat_template)
    _check_rows(settings.teacher.seeds, "passage", "question")
    _check_rows(settings.synthesize.tasks, "question", "answer")
    _check_rows(settings.synthesize.out_of_domain, "question")
    for path in sorted(settings.evaluate.questions.glob("*.jsonl")):
        _check_rows(path, "question")
    for folder in filter(None, (settings.curate.user_data, settings.pairs.human)):
        for path in sorted(folder.glob("*.jsonl")):
            _check_rows(path)


def _check_functions(settings: Config) -> None:
    """Check the functions and the prompts that parameters name, which would otherwise fail their stage."""
    if settings.clean.custom_filter is not None:
        user_functions.check(settings.clean.custom_filter, "clean.custom_filter")
    for name in settings.alignment.rl:
        for reward in settings.online(name).reward:
            if ":" in reward:
                user_functions.check(reward, f"alignment.rl.{name}")
            elif reward == "judge":
                prompts.load(settings.synthesize.prompts, "reward", f"alignment.rl.{name}")
    for name, row in settings.alignment.pairs.items():
        if row.judged:
            prompts.load(settings.synthesize.prompts, JUDGE_PROMPTS[row.ranker], f"alignment.pairs.{name}")


def _check_rows(path: Path, *texts: str) -> None:
    """Parse a JSONL file if it exists; a stage that needs a missing file fails in its first second."""
    for _ in each_row(path, texts) if path.exists() else ():
        pass
