"""What each cleaning rule throws away: of the sample corpus, held against what was planted there, and of any folder.

    python benchmarks/rules.py                    # the sample corpus
    python benchmarks/rules.py --folder DIR       # and how the rules behave on other texts

The last line is one JSON object: precision and recall of the repeated-line rule (lines), of the KL filter and of the
heuristics (documents). A file of the other folder is cut into documents of about 2,000 characters at empty lines.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipelines import artifacts, config
from pipelines.data import documents
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.data.extract.readers import Limits, extract, sources
from tasks.clean import clean

ROOT = Path(__file__).parents[1]
TRUTH = json.loads((ROOT / "data/sample_manifest.json").read_text())
PIECE = 2_000
KL, LANGUAGE = "token_distribution", "language"


def cleaned(found: list[Document], folder: Path, languages: list[str]) -> Path:
    """Clean documents; return where the result lies."""
    folder.mkdir()
    documents.write(folder / "documents", documents.identified(found))
    (folder / "clean").mkdir()
    settings = config.load(ROOT / "params.yaml").clean.model_copy(update={"languages": languages})
    clean(folder, folder / "clean", settings, Executor())
    return folder / "clean"


def read(folder: Path) -> list[Document]:
    """Return the documents of a folder."""
    limits = Limits(50_000_000, 200)
    found = (each for path in sources(folder) for each in extract(path, folder, limits))
    return [each for each in found if isinstance(each, Document)]


def pieces(found: list[Document]) -> Iterator[Document]:
    """Cut documents at empty lines into pieces of about two kilobytes."""
    for document in found:
        part: list[str] = []
        for number, paragraph in enumerate(document.text.split("\n\n")):
            part.append(paragraph)
            if sum(map(len, part)) > PIECE:
                yield Document("", f"{document.source}#{number}", None, document.title, "text", "\n\n".join(part))
                part = []
        if part:
            yield Document("", f"{document.source}#end", None, document.title, "text", "\n\n".join(part))


def scores(found: set[str], truth: set[str]) -> tuple[float, float]:
    """Return precision and recall; 1 when there is nothing to find, or nothing was found."""
    right = len(found & truth)
    return right / len(found) if found else 1.0, right / len(truth) if truth else 1.0


def sample(folder: Path) -> dict[str, float]:
    """Hold the rules against what was planted in the sample corpus."""
    before = read(ROOT / "data/raw")
    out = cleaned(before, folder, ["en"])
    drops = {row["source"]: row["reason"] for row in artifacts.read_rows(out / "drops.jsonl")}
    after = {each.source: set(each.text.split("\n")) for each in documents.read(out / "documents")}
    lines = [(each.source, line) for each in before if each.source in after for line in each.text.split("\n")]
    planted = {f"{source}\n{line}" for source, line in lines if line.strip() in TRUTH["boilerplate_lines"]}
    removed = {
        f"{row['source']}\n{row['example']}"
        for row in artifacts.read_rows(out / "edits.jsonl")
        if row["reason"] == "repeated_line"
    }
    gone = {each for each in planted if each.split("\n", 1)[1] not in after[each.split("\n", 1)[0]]}
    print(f"sample corpus: {len(before)} documents; dropped {drops}")
    line = scores(removed | gone, planted)
    by_kl = {source for source, reason in drops.items() if reason == KL}
    by_rule = {source for source, reason in drops.items() if reason not in (KL, LANGUAGE)}
    noise = {source for source, kind in TRUTH["junk"].items() if kind == "keyboard noise"}
    repeated = {source for source, kind in TRUTH["junk"].items() if kind == "one token repeated"}
    kl, rules = scores(by_kl, noise), scores(by_rule, repeated)
    names = ("line", "kl", "heuristics")
    return {
        f"{name}_{what}": round(value, 4)
        for name, found in zip(names, (line, kl, rules), strict=True)
        for what, value in zip(("precision", "recall"), found, strict=True)
    }


def other(source: Path, folder: Path) -> None:
    """Print what the rules take of the texts of another folder."""
    found = list(pieces(read(source)))
    out = cleaned(found, folder, [])
    drops = Counter(row["reason"] for row in artifacts.read_rows(out / "drops.jsonl"))
    edits: Counter[str] = Counter()
    for row in artifacts.read_rows(out / "edits.jsonl"):
        edits[row["reason"]] += row["count"]
    print(f"{source}: {len(found)} pieces, {documents.count(documents.shards(out / 'documents'))} kept")
    for reason, count in drops.most_common():
        print(f"  dropped {reason:20}{count:8}  {count / len(found):7.2%}")
    for reason, count in edits.most_common():
        print(f"  edited  {reason:20}{count:8}  places")


def main() -> None:
    """Run what the command line says; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="other texts")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = sample(Path(folder) / "sample")
        if wanted.folder:
            other(wanted.folder, Path(folder) / "other")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
