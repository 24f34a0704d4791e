"""Data sets out of the project, for others: `gradus export`. artifacts/curate or artifacts/preferences, in one of the
forms of the field, with a dataset card by which `datasets` loads them.
"""

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, DatasetInfo, Features
from datasets.info import DatasetInfosDict
from rich.console import Console

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation.card import card
from pipelines.formats import chat_formats, preference_formats
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_json

SPLITS = {
    "curate": {"train": "train.jsonl", "validation": "validation.jsonl"},
    "preferences": {"train": "train.jsonl", "test": "held_out.jsonl"},
}
FORMS = {"curate": list(chat_formats.FORMS), "preferences": list(preference_formats.COLUMNS)}
KINDS = ("jsonl", "parquet")
LOCK = Path("dvc.lock")
_SCHOOLED = "the embedded model, schooled on hand-written seeds"


def export(
    console: Console, name: str, form: str, folder: Path, kind: str, license_: str, licenses: Path | None
) -> None:
    """Write a set in a form, with its card; rows that the form cannot hold are counted and left out.

    `licenses` is a JSON file of licences by patterns of document names, for what is not under `license_`.

    Raises:
        UserError: there is no such set or form, the folder is not empty, or no row fits.
    """
    _look(name, form, folder, kind)
    source, documents = artifacts.read(name), artifacts.read_table(artifacts.read("split") / "train.parquet")
    stated = _licenses(licenses, documents)
    parts = {split: artifacts.read_rows(source / file) for split, file in SPLITS[name].items()}
    fitted = {split: chat_formats.written(rows, form) for split, rows in parts.items()}
    unfit = [row for _, bad in fitted.values() for row in bad]
    splits = {split: (f"{split}.{kind}", good) for split, (good, _) in fitted.items() if good}
    if not splits:
        raise UserError(f"No row of {source} can be written as {form}; {reasons(unfit)}")
    told = card(
        name,
        splits,
        [*artifacts.read_rows(source / "rejects.jsonl"), *unfit],
        documents,
        form=form,
        license_=license_,
        teachers=_writers(_made_with("synthesize")),
        licenses=stated,
        kept=_kept(source, parts),
        parameters={name: block} if (block := _made_with(name).get(name)) else None,
        commit=_commit(),
    )
    features = _save(splits, folder)
    (folder / "README.md").write_text(told, encoding="utf-8")
    # With the types of the columns in the card, a split in which one is empty loads like the others.
    DatasetInfosDict(default=DatasetInfo(features=features)).write_to_directory(folder)
    counts = ", ".join(f"{len(rows):,} {split}" for split, (_, rows) in splits.items())
    console.print(f"{folder}: {counts} rows as {form}; {reasons(unfit)}", highlight=False)


def _look(name: str, form: str, folder: Path, kind: str) -> None:
    """Refuse what cannot be done before anything is read."""
    if name not in SPLITS:
        raise UserError(f"There is no set {name!r}; it is one of {', '.join(SPLITS)}.")
    if form not in FORMS[name]:
        raise UserError(f"{name} cannot be written as {form!r}; it can be as {', '.join(FORMS[name])}.")
    if kind not in KINDS:
        raise UserError(f"A set cannot be written as {kind!r}; it can be as {' or '.join(KINDS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; name another one.")


def _licenses(path: Path | None, documents: Sequence[Row]) -> dict[str, str]:
    """Return the licences that a file states, by the ids of the documents; the first pattern that fits counts."""
    if path is None:
        return {}
    stated = read_json(path)
    if not isinstance(stated, dict) or not all(isinstance(value, str) for value in stated.values()):
        raise UserError(
            f'{path}: a JSON object of licences by patterns is expected, such as {{"news/*": "CC-BY-4.0"}}.'
        )
    found = {row["id"]: [text for at, text in stated.items() if fnmatch(row["source"], at)] for row in documents}
    return {id_: texts[0] for id_, texts in found.items() if texts}


def _save(splits: Mapping[str, tuple[str, list[Row]]], folder: Path) -> Features:
    """Write the files, with the same columns in all of them, and return the types of these."""
    every = [row for _, rows in splits.values() for row in rows]
    columns = list(dict.fromkeys(column for row in every for column in row))
    features = Dataset.from_dict({column: [row.get(column) for row in every] for column in columns}).features
    folder.mkdir(parents=True, exist_ok=True)
    for file, rows in splits.values():
        held = Dataset.from_dict({column: [row.get(column) for row in rows] for column in columns}, features)
        path = str(folder / file)
        _ = held.to_parquet(path) if file.endswith(".parquet") else held.to_json(path, force_ascii=False)
    return features


def _made_with(stage: str) -> dict[str, Any]:
    """Return the parameters with which DVC saw a stage run; params.yaml may have changed since."""
    locked = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"] if LOCK.exists() else {}
    made: dict[str, Any] = locked.get(stage, {}).get("params", {}).get("params.yaml", {})
    return made


def _writers(made: Mapping[str, Any]) -> list[str]:
    """Return the model that wrote the questions; none where DVC did not see it, or there was none."""
    writer = made.get("teacher.roles", {}).get("writer")
    if writer is None:
        return []
    model = made["teacher.models"][writer]
    revision = f" at {model['revision']}" if model.get("revision") else ""
    return [model["model"] + revision if "model" in model else _SCHOOLED]


def _kept(source: Path, parts: Mapping[str, list[Row]]) -> dict[str, int]:
    """Return how many rows passed the filters: of questions by kind, of pairs by where they came from."""
    metrics = artifacts.record(source)["metrics"]
    kept = {name.removeprefix("kept_"): int(count) for name, count in metrics.items() if name.startswith("kept_")}
    return kept or Counter(row["provenance"] for rows in parts.values() for row in rows)


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def reasons(unfit: Sequence[Row]) -> str:
    """Say how many rows were left out for what."""
    if not unfit:
        return "none left out."
    found = Counter(row["reason"] for row in unfit).most_common()
    return "left out: " + ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in found) + "."
