"""Set up the project for a folder of user-provided documents. Standalone: gradus init FOLDER

Copies the folder to data/ if it is outside of the project, tracks it with DVC, sets `ingest.source` in params.yaml
(nothing else is changed), and moves the sample questions to data/sample_questions/. Idempotent; commits nothing.
"""

import filecmp
import json
import re
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from rich.console import Console

from flows import sample
from flows.folder import check_names, check_repository, dvc_add
from pipelines import artifacts, config
from pipelines.runtime.errors import UserError

ASIDE = Path("data/sample_questions")
PARAMS = Path("params.yaml")
_SOURCE = re.compile(
    r"(^ingest:[^\n]*\n(?:[ \t#][^\n]*\n|\r?\n)*?[ \t]+source:[ \t]*)([^\s#][^#\r\n]*?)([ \t]*(?:#|\r?$))", re.M
)
_ANSWERABLE = '{"id": "a1", "question": "…?", "answer": "…", "sources": ["file.pdf"], "split": "test"}'


def init(console: Console, folder: Path) -> None:
    """Make `folder` the project's documents; print the changes and the files to commit.

    Raises:
        UserError: it contains no documents, contains other parts of the project, or cannot be tracked.
    """
    check_repository()
    settings = config.load()
    _check(folder)
    place = _inside(console, folder)
    changed = [PARAMS]
    if _in_git(place):
        console.print(f"{place} is tracked by git.", highlight=False)
    else:
        dvc_add(place)
        changed += [Path(f"{place}.dvc"), place.parent / ".gitignore"]
        console.print(f"{place} is tracked by DVC.", highlight=False)
    point_at(place)
    console.print(f"{PARAMS}: ingest.source is {place}.", highlight=False)
    for questions in dict.fromkeys((settings.evaluate.questions, settings.split.questions)):
        changed += _set_aside(console, questions, place)
    names = shlex.join(str(path) for path in dict.fromkeys(changed))
    console.print(f"To commit: git add {names}", highlight=False, soft_wrap=True, markup=False)


def _check(folder: Path) -> None:
    """Raise a UserError unless `folder` is a folder of documents."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder of your documents.")
    check_names(folder)
    if not any(not each.name.startswith(".") for each in artifacts.files(folder)):
        raise UserError(f"{folder} contains no files; put your documents there.")
    here, whole = Path.cwd(), folder.resolve()
    if any((here / each).is_relative_to(whole) for each in (PARAMS, "data/questions")):
        raise UserError(f"{folder} contains other files of the project; put your documents into a separate folder.")


def _inside(console: Console, folder: Path) -> Path:
    """Return the path of the folder in the project, after copying it there if it is outside."""
    here, whole = Path.cwd(), folder.resolve()
    if whole.is_relative_to(here):
        return whole.relative_to(here)
    place = Path("data") / whole.name
    if place.exists():
        if not _same(whole, place):
            raise UserError(f"{place} exists already and differs from {folder}; rename one of them.")
        return place
    partial = place.with_name(place.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted copy
    try:
        shutil.copytree(whole, partial, ignore_dangling_symlinks=True)
    except OSError as error:  # shutil.Error holds a list of files and reasons
        shutil.rmtree(partial, ignore_errors=True)
        first = error.args[0][0] if isinstance(error, shutil.Error) else (error.filename, place, error.strerror)
        raise UserError(f"{first[0]} cannot be copied to {place}: {first[2]}.") from error
    partial.rename(place)
    console.print(f"{folder} is outside of the project and was copied to {place}.", highlight=False)
    return place


def _same(one: Path, other: Path) -> bool:
    names = [[each.relative_to(folder) for each in artifacts.files(folder)] for folder in (one, other)]
    return names[0] == names[1] and not any(filecmp.cmpfiles(one, other, names[0], shallow=False)[1:])


def _in_git(place: Path) -> bool:
    done = subprocess.run(["git", "ls-files", "--", str(place)], capture_output=True, check=False)
    return bool(done.stdout.strip())


def point_at(place: Path) -> None:
    """Set `ingest.source` in params.yaml without changing any other byte.

    Raises:
        UserError: the file is not written with one key per line.
    """
    before = PARAMS.read_bytes()
    name = place.as_posix()
    written = name if _is_plain(name) else json.dumps(name, ensure_ascii=False)
    after = _SOURCE.sub(lambda found: f"{found[1]}{written}{found[3]}", before.decode("utf-8"), count=1).encode()
    if yaml.safe_load(after)["ingest"]["source"] != name:
        raise UserError(f"ingest.source was not found in {PARAMS}; set it to {name} yourself.")
    if after != before:
        partial = PARAMS.with_name(PARAMS.name + ".part")
        partial.write_bytes(after)
        partial.replace(PARAMS)


def _is_plain(name: str) -> bool:
    """Return whether a string can be written in YAML without quotes."""
    try:
        return bool(yaml.safe_load(f"a: {name} # b") == {"a": name})
    except yaml.YAMLError:
        return False


def _set_aside(console: Console, folder: Path, documents: Path) -> list[Path]:
    """Move the sample questions out of `folder` if they are about other documents; return the changed folders."""
    found = sample.questions(folder) if sample.elsewhere(folder, documents) else []
    for path in found:
        ASIDE.mkdir(parents=True, exist_ok=True)
        path.replace(ASIDE / path.name)
    if found:
        console.print(
            f"The sample questions were moved to {ASIDE}, where they are not used.", highlight=False, soft_wrap=True
        )
    return [folder, ASIDE] if found else []


def show(console: Console) -> None:
    """Print a summary of the documents and the next steps."""
    metrics = {
        name: artifacts.record(artifacts.read(name))["metrics"] for name in ("ingest", "clean", "dedup", "split")
    }
    read, rejected = metrics["ingest"]["documents"], metrics["ingest"]["rejected"]
    gone = {**_dropped(metrics["clean"]), **_dropped(metrics["dedup"])}
    lost = ", ".join(f"{count:.0f} {reason}" for reason, count in gone.items())
    characters = sum(value for name, value in metrics["split"].items() if name.startswith("characters_"))
    languages = ", ".join(f"{count} {name}" for name, count in _languages().most_common())
    settings = config.load()
    questions = settings.evaluate.questions
    for line in (
        f"Documents: {read:.0f} read, {rejected:.0f} rejected, {metrics['dedup']['documents']:.0f} kept"
        + (f" (dropped: {lost})" if lost else ""),
        f"Text kept: {characters:,.0f} characters; languages: {languages}"
        + (f" (only {', '.join(kept)}: clean.languages)" if (kept := settings.clean.languages) else ""),
        f"Dropped and edited text, with reasons: {artifacts.REPORTS / 'data_report.html'}",
        "Next: `gradus run synthesize`, then `gradus questions` drafts evaluation questions for you to accept or edit.",
        f"Or write some to {questions}/answerable.jsonl and unanswerable.jsonl, one per line, with the split test or "
        "validation:",
        f"  {_ANSWERABLE}",
        "Then run `gradus run`. Without questions, models are measured on synthesised ones, and none is promoted.",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _dropped(metrics: dict[str, float]) -> dict[str, float]:
    found = {name.removeprefix("dropped_"): count for name, count in metrics.items() if name.startswith("dropped_")}
    return {reason.replace("_", " "): count for reason, count in found.items() if count}


def _languages() -> Counter[str]:
    shards = sorted(Path("artifacts/dedup/documents").glob("*.parquet"))
    return Counter(str(name) for shard in shards for name in pq.read_table(shard, columns=["language"])[0].to_pylist())
