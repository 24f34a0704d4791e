"""Measure the cleaning rules: precision and recall on planted junk in the sample corpus, and drops in any folder.

    python benchmarks/rules.py                    # the sample corpus
    python benchmarks/rules.py --folder DIR       # also the drops in other texts

The last line is one JSON object: precision and recall of the boilerplate rule (lines), of the KL filter and of the
heuristics (documents). Files of the other folder are split at empty lines into documents of about 2,000 characters.
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


def cleaned(docs: list[Document], folder: Path, languages: list[str]) -> Path:
    """Clean documents; return the output folder."""
    folder.mkdir()
    documents.write(folder / "documents", documents.identified(docs))
    (folder / "clean").mkdir()
    settings = config.load(ROOT / "params.yaml").clean.model_copy(update={"languages": languages})
    clean(folder, folder / "clean", settings, Executor())
    return folder / "clean"


def read(folder: Path) -> list[Document]:
    """Return the documents of a folder."""
    limits = Limits(50_000_000, 200)
    docs = (each for path in sources(folder) for each in extract(path, folder, limits))
    return [each for each in docs if isinstance(each, Document)]


def pieces(docs: list[Document]) -> Iterator[Document]:
    """Split documents at empty lines into pieces of about 2,000 characters."""
    for document in docs:
        part: list[str] = []
        for number, paragraph in enumerate(document.text.split("\n\n")):
            part.append(paragraph)
            if sum(map(len, part)) > PIECE:
                yield Document("", f"{document.source}#{number}", None, document.title, "text", "\n\n".join(part))
                part = []
        if part:
            yield Document("", f"{document.source}#end", None, document.title, "text", "\n\n".join(part))


def scores(predicted: set[str], truth: set[str]) -> tuple[float, float]:
    """Return precision and recall; an undefined value counts as 1."""
    correct = len(predicted & truth)
    return correct / len(predicted) if predicted else 1.0, correct / len(truth) if truth else 1.0


def sample(folder: Path) -> dict[str, float]:
    """Return precision and recall of the rules on the junk planted in the sample corpus."""
    before = read(ROOT / "data/raw")
    out = cleaned(before, folder, ["en"])
    drops = {row["source"]: row["reason"] for row in artifacts.read_rows(out / "drops.jsonl")}
    after = {each.source: set(each.text.split("\n")) for each in documents.read(out / "documents")}
    lines = [(each.source, line) for each in before if each.source in after for line in each.text.split("\n")]
    planted = {f"{source}\n{line}" for source, line in lines if line.strip() in TRUTH["boilerplate_lines"]}
    removed = {
        f"{row['source']}\n{row['example']}"
        for row in artifacts.read_rows(out / "edits.jsonl")
        if row["reason"] == "repeated_line" and row["source"] in after
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
        for name, pair in zip(names, (line, kl, rules), strict=True)
        for what, value in zip(("precision", "recall"), pair, strict=True)
    }


def other(source: Path, folder: Path) -> None:
    """Print the drops and edits of the rules on the texts of another folder."""
    docs = list(pieces(read(source)))
    out = cleaned(docs, folder, [])
    drops = Counter(row["reason"] for row in artifacts.read_rows(out / "drops.jsonl"))
    edits: Counter[str] = Counter()
    for row in artifacts.read_rows(out / "edits.jsonl"):
        edits[row["reason"]] += row["count"]
    print(f"{source}: {len(docs)} pieces, {documents.count(documents.shards(out / 'documents'))} kept")
    for reason, count in drops.most_common():
        print(f"  dropped {reason:20}{count:8}  {count / len(docs):7.2%}")
    for reason, count in edits.most_common():
        print(f"  edited  {reason:20}{count:8}  places")


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder of other texts")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = sample(Path(folder) / "sample")
        if args.folder:
            other(args.folder, Path(folder) / "other")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
