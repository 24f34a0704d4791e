"""Benchmark the data engine: near-duplicates against datatrove; clean and dedup of 100,000 and 1,000,000 documents.

    python benchmarks/data.py            # also docs_per_s, growth_10x, peak_gib; 15 minutes
    python benchmarks/data.py --quick    # neardup_speedup, recall, precision, recall_datatrove, precision_datatrove

The last line is one JSON object. In the near-duplicate benchmark 10% of 20,000 documents of 2 kB are altered
copies. datatrove (0.10.1, default settings: 14 buckets of 8 hashes, word 5-grams) is installed in a separate
environment in .gradus/benchmarks/ and has two workers. Both programs read the same Parquet files and write the
remaining documents; both are timed end to end including imports, and the faster of two runs counts. The large runs use
mixed documents (tests/support/mixed_corpus.py); `docs_per_s` covers clean and dedup together, `growth_10x` is the
factor in time for ten times as many documents, and `peak_gib` is the peak memory of all processes.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipelines import config
from pipelines.data import documents
from pipelines.data.documents import Document
from tests.support import mixed_corpus as mixed

ROOT = Path(__file__).parents[1]
PEER = Path(".gradus/benchmarks/datatrove")
PACKAGES = ("datatrove[io,processing]==0.10.1", "xxhash<4", "spacy", "orjson")

OURS = """
import sys
from pathlib import Path
from pipelines.data import documents
from pipelines.data.dedup import deduplicate, minhash
from pipelines.data.dedup.deduplicate import Preference
from pipelines.data.executor import Executor

if __name__ == "__main__":
    shards = documents.shards(Path(sys.argv[1]) / "documents")
    table = Path(sys.argv[2]) / "documents"
    table.mkdir()
    found = deduplicate.find(shards, minhash.banding(*BANDING), SIMILARITY, Preference([], False), Executor())
    deduplicate.write(shards, deduplicate.remaining(shards, found), table, Executor())
"""

THEIRS = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

def main(source, out):
    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
    reader = ParquetReader(source + "/documents", text_key="text", id_key="id", glob_pattern="*.parquet")
    steps = [
        ([reader, MinhashDedupSignature(f"{out}/signatures", config=config)], 2),
        ([MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)], config.num_buckets),
        ([MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)], 1),
        ([reader, MinhashDedupFilter(f"{out}/remove", exclusion_writer=JsonlWriter(f"{out}/removed", compression=None)),
          JsonlWriter(f"{out}/kept")], 2),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=2, logging_dir=f"{out}/logs/{number}").run()

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def corpus(count: int, copies: float, words: int = 360, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return texts of about 2 kB, and for each the index of its original.

    Words follow Zipf's law. One to six words of a copy are replaced, so that it shares 80 to 97% of all word 5-grams
    with its original.
    """
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = np.array(["".join(rng.choice(letters, size=rng.integers(2, 10))) for _ in range(30_000)])
    frequencies = 1 / np.arange(1, len(vocabulary) + 1)
    originals = round(count * (1 - copies))
    drawn = rng.choice(len(vocabulary), size=(originals, words), p=frequencies / frequencies.sum())
    texts = [" ".join(vocabulary[row]) for row in drawn]
    origin = list(range(originals))
    for _ in range(count - originals):
        source = int(rng.integers(originals))
        altered = drawn[source].copy()
        places = rng.choice(words, size=rng.integers(1, 7), replace=False)
        altered[places] = rng.integers(len(vocabulary), size=len(places))
        texts.append(" ".join(vocabulary[altered]))
        origin.append(source)
    shuffled = rng.permutation(count)
    place = np.argsort(shuffled)
    return [texts[at] for at in shuffled], [int(place[origin[at]]) for at in shuffled]


def write(texts: list[str], folder: Path) -> None:
    """Write documents in the output format of `clean`, with their index as id."""
    names = (f"{number:07}" for number in range(len(texts)))
    rows = (Document(name, name, None, name, "text", text) for name, text in zip(names, texts, strict=True))
    documents.write(folder / "documents", rows)


def recall_precision(removed: set[int], origin: list[int]) -> tuple[float, float]:
    """Return recall and precision of the removals: k - 1 of k versions of a text should be removed."""
    sizes = Counter(origin)
    gone = Counter(origin[number] for number in removed)
    right = sum(min(count, sizes[source] - 1) for source, count in gone.items())
    return right / sum(size - 1 for size in sizes.values()), right / len(removed) if removed else 0.0


ENGINE = """
import sys
from pathlib import Path
from tests.support import mixed_corpus as mixed
from pipelines import config
from pipelines.data.executor import Executor
from tasks.clean import clean
from tasks.dedup import dedup

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    settings = config.load(Path("params.yaml"))
    (folder / "clean").mkdir()
    (folder / "dedup").mkdir()
    print(clean(folder, folder / "clean", settings.clean.model_copy(update={"languages": []}), Executor()))
    print(dedup(folder / "clean", folder / "dedup", settings.dedup, Executor()))
"""


def scale(count: int, folder: Path) -> tuple[float, float]:
    """Clean and deduplicate `count` mixed documents; return seconds and peak GiB."""
    print(f"writing {count} documents", file=sys.stderr, flush=True)
    documents.write(folder / "documents", mixed.corpus(count))
    (folder / "engine.py").write_text(ENGINE, encoding="utf-8")
    began = time.monotonic()
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen([sys.executable, str(folder / "engine.py"), str(folder)], cwd=ROOT, env=paths)
    peak = 0
    while not ended(program):
        peak = max(peak, memory(program.pid))
    seconds = time.monotonic() - began
    if program.returncode:
        raise RuntimeError(f"clean or dedup of {count} documents failed; see above.")
    print(f"{count} documents: {seconds:.0f} s, {peak / 2**30:.2f} GiB", file=sys.stderr, flush=True)
    return seconds, peak / 2**30


def ended(program: subprocess.Popen[bytes]) -> bool:
    """Wait up to one second; return whether the program has exited."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(1)
    return program.returncode is not None


def memory(root: int) -> int:
    """Return the memory of a process and its descendants in bytes; shared pages count once."""
    held = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
            held.append(process.memory_info())
    return sum(each.rss - each.shared for each in held) + max((each.shared for each in held), default=0)


def growth(count: int) -> dict[str, float]:
    """Measure the scaling from `count` documents to ten times as many."""
    found = []
    for each in (count, 10 * count):
        with tempfile.TemporaryDirectory() as folder:
            found.append(scale(each, Path(folder)))
    (once, _), (tenfold, peak) = found
    return {"docs_per_s": round(count / once), "growth_10x": round(tenfold / once, 2), "peak_gib": round(peak, 2)}


def timed(command: list[str], out: Path) -> float:
    """Run a program that writes to the folder `out` twice; return the seconds of the faster run.

    Raises:
        RuntimeError: the program fails; the message is its stderr.
    """
    seconds = []
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        began = time.monotonic()
        run([*command, str(out)])
        seconds.append(time.monotonic() - began)
    return min(seconds)


def run(command: list[str]) -> None:
    """Run a program in the project folder.

    Raises:
        RuntimeError: the program fails; the message is its stderr.
    """
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=paths, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])


def peer() -> Path:
    """Return the Python of datatrove's environment, which is created if missing."""
    python = ROOT / PEER / "bin/python"
    if not (ROOT / PEER / "ready").exists():
        print("installing datatrove in a separate environment", file=sys.stderr, flush=True)
        venv.create(ROOT / PEER, with_pip=True, clear=True)
        run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES])
        (ROOT / PEER / "ready").touch()
    return python


def near_duplicates(count: int, folder: Path) -> dict[str, float]:
    """Remove the near-duplicates of `count` documents with both programs; return speedup, recall and precision."""
    texts, origin = corpus(count, 0.1)
    write(texts, folder / "source")
    settings = config.load(ROOT / "params.yaml").dedup
    banding = (settings.shingle, settings.hashes, settings.similarity, settings.recall)
    program = OURS.replace("BANDING", repr(banding)).replace("SIMILARITY", repr(settings.similarity))
    (folder / "ours.py").write_text(program, encoding="utf-8")
    ours = timed([sys.executable, str(folder / "ours.py"), str(folder / "source")], folder / "ours")
    kept = documents.columns(documents.shards(folder / "ours/documents"), ["id"]).column("id").to_pylist()
    recall, precision = recall_precision(set(range(count)) - set(map(int, kept)), origin)
    print(f"gradus: {count / ours:.0f} documents a second", file=sys.stderr, flush=True)
    (folder / "theirs.py").write_text(THEIRS, encoding="utf-8")
    theirs = timed([str(peer()), str(folder / "theirs.py"), str(folder / "source")], folder / "theirs")
    print(f"datatrove: {count / theirs:.0f} documents a second", file=sys.stderr, flush=True)
    lines = (line for file in (folder / "theirs/removed").rglob("*.jsonl") for line in file.read_text().splitlines())
    recalled, precise = recall_precision({int(json.loads(line)["id"]) for line in lines}, origin)
    return {
        "neardup_speedup": round(theirs / ours, 1),
        "recall": round(recall, 4),
        "precision": round(precision, 4),
        "recall_datatrove": round(recalled, 4),
        "precision_datatrove": round(precise, 4),
    }


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run only the near-duplicate benchmark")
    parser.add_argument("--documents", type=int, default=20_000, help="documents in the near-duplicate benchmark")
    parser.add_argument(
        "--many",
        type=int,
        default=100_000,
        help="documents in the smaller run of clean and dedup; the larger has ten times as many",
    )
    args = parser.parse_args()
    peer()  # installation is not timed
    with tempfile.TemporaryDirectory() as folder:
        figures = near_duplicates(args.documents, Path(folder))
    print(json.dumps(figures | ({} if args.quick else growth(args.many))))


if __name__ == "__main__":
    main()
