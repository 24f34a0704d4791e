"""A folder of one's own documents as what the project starts from: `gradus init FOLDER`.

Reads the folder; copies it below data/ when it lies outside of the project, has DVC keep it, names it in params.yaml
(`ingest.source`, all else untouched), and moves the sample's questions to data/sample_questions/. It can be repeated,
and commits nothing. Alone: gradus init FOLDER
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
    """Make `folder` the project's documents; say what was done and what to commit.

    Raises:
        UserError: it holds no documents, is no folder of documents alone, or cannot be kept.
    """
    check_repository()
    settings = config.load()
    _check(folder)
    place = _inside(console, folder)
    changed = [PARAMS]
    if _in_git(place):
        console.print(f"{place} is kept by git.", highlight=False)
    else:
        dvc_add(place)
        changed += [Path(f"{place}.dvc"), place.parent / ".gitignore"]
        console.print(f"{place} is kept by DVC.", highlight=False)
    point_at(place)
    console.print(f"{PARAMS}: ingest.source is {place}.", highlight=False)
    for questions in dict.fromkeys((settings.evaluate.questions, settings.split.questions)):
        changed += _set_aside(console, questions, place)
    names = shlex.join(str(path) for path in dict.fromkeys(changed))
    console.print(f"To commit: git add {names}", highlight=False, soft_wrap=True, markup=False)


def _check(folder: Path) -> None:
    """Refuse what is no folder of documents."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that holds your documents.")
    check_names(folder)
    if not any(not each.name.startswith(".") for each in artifacts.files(folder)):
        raise UserError(f"{folder} holds no file; put your documents there.")
    here, whole = Path.cwd(), folder.resolve()
    if any((here / each).is_relative_to(whole) for each in (PARAMS, "data/questions")):
        raise UserError(f"{folder} holds more of the project than documents; put these into a folder of their own.")


def _inside(console: Console, folder: Path) -> Path:
    """Return where the folder lies in the project, copied there when it lies outside."""
    here, whole = Path.cwd(), folder.resolve()
    if whole.is_relative_to(here):
        return whole.relative_to(here)
    place = Path("data") / whole.name
    if place.exists():
        if not _same(whole, place):
            raise UserError(f"{place} is there already, and is not the same as {folder}; rename one of them.")
        return place
    aside = place.with_name(place.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)  # what an interrupted copy left
    shutil.copytree(whole, aside)
    aside.rename(place)
    console.print(f"{folder} lies outside of the project and was copied to {place}.", highlight=False)
    return place


def _same(one: Path, other: Path) -> bool:
    names = [[each.relative_to(folder) for each in artifacts.files(folder)] for folder in (one, other)]
    return names[0] == names[1] and not any(filecmp.cmpfiles(one, other, names[0], shallow=False)[1:])


def _in_git(place: Path) -> bool:
    done = subprocess.run(["git", "ls-files", "--", str(place)], capture_output=True, check=False)
    return bool(done.stdout.strip())


def point_at(place: Path) -> None:
    """Set `ingest.source` in params.yaml, and leave every other byte as it is.

    Raises:
        UserError: the file is written in another way than one key a line.
    """
    before = PARAMS.read_bytes()
    name = place.as_posix()
    written = name if _is_plain(name) else json.dumps(name, ensure_ascii=False)
    after = _SOURCE.sub(lambda found: f"{found[1]}{written}{found[3]}", before.decode("utf-8"), count=1).encode()
    if yaml.safe_load(after)["ingest"]["source"] != name:
        raise UserError(f"ingest.source in {PARAMS} cannot be found to be changed; set it to {name} yourself.")
    if after != before:
        aside = PARAMS.with_name(PARAMS.name + ".part")
        aside.write_bytes(after)
        aside.replace(PARAMS)


def _is_plain(name: str) -> bool:
    """Tell whether a text means itself in YAML without quotation marks."""
    try:
        return bool(yaml.safe_load(f"a: {name} # b") == {"a": name})
    except yaml.YAMLError:
        return False


def _set_aside(console: Console, folder: Path, documents: Path) -> list[Path]:
    """Move the sample's questions out of `folder` when they are about other documents; return what changed."""
    found = sample.questions(folder) if sample.elsewhere(folder, documents) else []
    for path in found:
        ASIDE.mkdir(parents=True, exist_ok=True)
        path.replace(ASIDE / path.name)
    if found:
        console.print(
            f"The sample's questions are in {ASIDE} now; nothing reads them there.", highlight=False, soft_wrap=True
        )
    return [folder, ASIDE] if found else []


def show(console: Console) -> None:
    """Print what was found in the documents, and what to do next."""
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
        f"What was dropped or edited, and why: {artifacts.REPORTS / 'data_report.html'}",
        f"Next: write questions into {questions}/answerable.jsonl and unanswerable.jsonl, one a line, some with the "
        "split test and some validation:",
        f"  {_ANSWERABLE}",
        "Then `gradus run`. Without questions `gradus run sft` trains, and nothing is measured or promoted.",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _dropped(metrics: dict[str, float]) -> dict[str, float]:
    found = {name.removeprefix("dropped_"): count for name, count in metrics.items() if name.startswith("dropped_")}
    return {reason.replace("_", " "): count for reason, count in found.items() if count}


def _languages() -> Counter[str]:
    shards = sorted(Path("artifacts/dedup/documents").glob("*.parquet"))
    return Counter(str(name) for shard in shards for name in pq.read_table(shard, columns=["language"])[0].to_pylist())
