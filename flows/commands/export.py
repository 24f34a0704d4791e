"""Export artifacts/curate or the pairs in artifacts/pairs as a data set: `gradus export`.

Rows are written in a common chat or preference format, with a dataset card from which `datasets` can load them.
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
    "pairs": {"train": "train.jsonl", "test": "held_out.jsonl"},
}
FORMS = {"curate": list(chat_formats.FORMS), "pairs": list(preference_formats.COLUMNS)}
KINDS = ("jsonl", "parquet")
LOCK = Path("dvc.lock")
_FINE_TUNED = "the embedded model, fine-tuned on hand-written seeds"


def export(
    console: Console, name: str, form: str, folder: Path, kind: str, license_: str, licenses: Path | None
) -> None:
    """Write a data set in a format, with its card; rows that do not fit the format are counted and left out.

    `licenses` is a JSON file that maps patterns of document names to licenses; other documents are under `license_`.

    Raises:
        UserError: there is no such set or format, the folder is not empty, or no row fits.
    """
    set_, _, row = name.partition("/")
    _validate(name, form, folder, kind)
    source, documents = artifacts.read(name), artifacts.read_table(artifacts.read("split") / "train.parquet")
    stated = _licenses(licenses, documents)
    parts = {split: artifacts.read_rows(source / file) for split, file in SPLITS[set_].items()}
    fitted = {split: chat_formats.written(rows, form) for split, rows in parts.items()}
    unfit = [row for _, bad in fitted.values() for row in bad]
    splits = {split: (f"{split}.{kind}", good) for split, (good, _) in fitted.items() if good}
    if not splits:
        raise UserError(f"No row of {source} can be written as {form}; {reasons(unfit)}")
    made_with = _made_with(f"{set_}@{row}" if row else set_)
    readme = card(
        set_,
        splits,
        [*artifacts.read_rows(source / "rejects.jsonl"), *unfit],
        documents,
        form=form,
        license_=license_,
        teachers=_writers(_made_with("synthesize")),
        licenses=stated,
        kept=_kept(source, parts),
        parameters={set_: block} if (block := made_with.get(set_)) else None,
        commit=_commit(),
    )
    features = _save(splits, folder)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    # The card declares the column types, so that a split with an empty column loads like the others.
    DatasetInfosDict(default=DatasetInfo(features=features)).write_to_directory(folder)
    counts = ", ".join(f"{len(rows):,} {split}" for split, (_, rows) in splits.items())
    console.print(f"{folder}: {counts} rows as {form}; {reasons(unfit)}", highlight=False)


def _validate(name: str, form: str, folder: Path, kind: str) -> None:
    """Raise a UserError for invalid arguments before anything is read."""
    set_, _, row = name.partition("/")
    if set_ not in SPLITS or bool(row) != (set_ == "pairs"):
        raise UserError(f"There is no data set {name!r}; choose curate, or pairs/<row> such as pairs/first.")
    if form not in FORMS[set_]:
        raise UserError(f"{name} cannot be written as {form!r}; choose one of {', '.join(FORMS[set_])}.")
    if kind not in KINDS:
        raise UserError(f"A data set cannot be written as {kind!r}; choose {' or '.join(KINDS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; choose another one.")


def _licenses(path: Path | None, documents: Sequence[Row]) -> dict[str, str]:
    """Return the license of each document by id, from a JSON file of patterns; the first matching pattern counts."""
    if path is None:
        return {}
    stated = read_json(path)
    if not isinstance(stated, dict) or not all(isinstance(value, str) for value in stated.values()):
        raise UserError(
            f'{path}: expected a JSON object that maps patterns to licenses, such as {{"news/*": "CC-BY-4.0"}}.'
        )
    matches = {row["id"]: [text for at, text in stated.items() if fnmatch(row["source"], at)] for row in documents}
    return {id_: texts[0] for id_, texts in matches.items() if texts}


def _save(splits: Mapping[str, tuple[str, list[Row]]], folder: Path) -> Features:
    """Write the files with the same columns in all of them, and return the column types."""
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
    """Return the parameters that dvc.lock recorded for a stage; params.yaml may have changed since."""
    locked = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"] if LOCK.exists() else {}
    recorded: dict[str, Any] = locked.get(stage, {}).get("params", {}).get("params.yaml", {})
    return recorded


def _writers(parameters: Mapping[str, Any]) -> list[str]:
    """Return the model that wrote the questions; empty when it is not recorded or there was none."""
    writer = parameters.get("teacher.roles", {}).get("writer")
    if writer is None:
        return []
    model = parameters["teacher.models"][writer]
    revision = f" at {model['revision']}" if model.get("revision") else ""
    return [model["model"] + revision if "model" in model else _FINE_TUNED]


def _kept(source: Path, parts: Mapping[str, list[Row]]) -> dict[str, int]:
    """Return the number of kept rows: questions by kind, pairs by provenance."""
    metrics = artifacts.record(source)["metrics"]
    kept = {name.removeprefix("kept_"): int(count) for name, count in metrics.items() if name.startswith("kept_")}
    return kept or Counter(row["provenance"] for rows in parts.values() for row in rows)


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def reasons(unfit: Sequence[Row]) -> str:
    """Return the numbers of rejected rows by reason, as text."""
    if not unfit:
        return "none left out."
    counts = Counter(row["reason"] for row in unfit).most_common()
    return "left out: " + ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts) + "."
