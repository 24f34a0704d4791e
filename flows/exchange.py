"""Data sets out of the project and into it: `gradus export`, `gradus import`.

Out: artifacts/curate or artifacts/preferences, in one of four forms, with a dataset card that `datasets` loads. In:
rows of any of the forms, checked, into the folder that `curate.own` names.
"""

import json
from collections import Counter
from pathlib import Path

from datasets import Dataset, load_dataset
from rich.console import Console

from pipelines import artifacts, config
from pipelines.artifacts import Row
from pipelines.errors import UserError
from pipelines.synthesis import formats
from pipelines.synthesis.card import card

SPLITS = {
    "curate": {"train": "train.jsonl", "validation": "validation.jsonl"},
    "preferences": {"train": "train.jsonl", "test": "held_out.jsonl"},
}
FILES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def export(console: Console, name: str, form: str, folder: Path, kind: str, license_: str) -> None:
    """Write a set in a form, with its card; rows that the form cannot hold are counted and left out.

    Raises:
        UserError: there is no such set or form, or the folder is not empty.
    """
    if name not in SPLITS:
        raise UserError(f"There is no set {name!r}; it is one of {', '.join(SPLITS)}.")
    if form not in formats.FORMS or (name == "preferences" and form != "trl"):
        possible = ["trl"] if name == "preferences" else list(formats.FORMS)
        raise UserError(f"{name} cannot be written as {form!r}; it can be as {', '.join(possible)}.")
    if f".{kind}" not in FILES:
        raise UserError(f"A set cannot be written as {kind!r}; it can be as jsonl or parquet.")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name another folder.")
    source = artifacts.read(name)
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, tuple[str, list[Row]]] = {}
    unfit: list[Row] = []
    for split, file in SPLITS[name].items():
        rows = artifacts.read_rows(source / file)
        good, bad = formats.written(rows, form) if name == "curate" else (rows, [])
        unfit += bad
        path = folder / f"{split}.{kind}"
        if good:
            _save(good, path)
            splits[split] = (path.name, good)
    rejected = source / "rejects.jsonl"
    rejects = [*(artifacts.read_rows(rejected) if rejected.exists() else []), *unfit]
    settings = config.load()
    documents = artifacts.read_table(artifacts.read("split") / "train.parquet")
    models = settings.teacher.models
    told = card(
        name,
        splits,
        rejects,
        {row["id"]: row["source"] for row in documents},
        form=form,
        license_=license_,
        languages=sorted({row["language"] or "unknown" for row in documents}),
        teachers=[_named(models[settings.teacher.roles.writer])],
    )
    (folder / "README.md").write_text(told, encoding="utf-8")
    counts = ", ".join(f"{len(rows):,} {split}" for split, (_, rows) in splits.items())
    console.print(f"{folder}: {counts} rows as {form}; {_reasons(unfit)}", highlight=False)


def import_(console: Console, source: Path, form: str, target: Path) -> None:
    """Read rows of a form ("auto" tells it by the columns of each), and write those that are conversations to `target`.

    Raises:
        UserError: the file cannot be read, or none of its rows is a conversation.
    """
    if form not in ("auto", *formats.FORMS):
        raise UserError(f"{form!r} is no form; it is auto, {', '.join(formats.FORMS)}.")
    good: list[Row] = []
    unfit: list[Row] = []
    for row in _load(source):
        told = form if form != "auto" else formats.form_of(row)
        read, bad = formats.read([row], told) if told else ([], [{**row, "reason": "no_known_form"}])
        good += read
        unfit += bad
    if not good:
        raise UserError(f"No row of {source} is a conversation: {_reasons(unfit)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_rows(target, good)
    if unfit:
        artifacts.write_rows(target.with_suffix(".rejects.json"), unfit)
    console.print(f"{target}: {len(good):,} rows; {_reasons(unfit)}", highlight=False)


def _load(source: Path) -> list[Row]:
    kind = FILES.get(source.suffix)
    if kind is None or not source.is_file():
        raise UserError(f"{source} is no file of {', '.join(FILES)}.")
    try:
        found = load_dataset(kind, data_files=str(source), split="train")
    except Exception as error:  # datasets wraps whatever its readers raise
        raise UserError(f"{source} cannot be read: {str(error).splitlines()[0]}") from error
    return [dict(row) for row in found]


def _save(rows: list[Row], path: Path) -> None:
    plain = [json.loads(json.dumps(row)) for row in rows]
    if path.suffix == ".parquet":
        Dataset.from_list(plain).to_parquet(str(path))
    else:
        Dataset.from_list(plain).to_json(str(path), force_ascii=False)


def _named(model: config.Block) -> str:
    return str(getattr(model, "model", "the embedded model, schooled on hand-written seeds"))


def _reasons(unfit: list[Row]) -> str:
    if not unfit:
        return "none left out."
    reasons = Counter(row["reason"] for row in unfit).most_common()
    return "left out: " + ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in reasons) + "."
