"""Extract malformed files of every kind; each must end up as a document or as a reject.

    python benchmarks/broken.py --files 10000    # files, documents, rejected, failed, lost, unencodable, seconds

The last line is one JSON object. `failed` counts rejects caused by an unexpected exception in a reader, `lost` files
without a document or reject, and `unencodable` documents and rejects with a string that cannot be stored.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.broken import break_files, counts, read
from tests.support.broken_files import GOOD, ROOT


def add_giants(folder: Path) -> None:
    """Write oversized files (a deep page, a long line, a decompression bomb) and a symlink out of the folder."""
    (folder / "deep.html").write_bytes(b"<div>" * 100_000 + GOOD)
    (folder / "long.jsonl").write_bytes(b'{"text": "' + b"x" * 200_000_000 + b'"}')
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(bytes(300_000_000)))
    (folder / "out.txt").symlink_to("/etc/passwd")


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as elsewhere:
        break_files(Path(folder), args.files)
        add_giants(Path(folder))
        os.chdir(elsewhere)  # no extraction cache of an earlier run
        began = time.monotonic()
        lost, found = read(Path(folder))
        result = {"files": args.files + 4, **counts(found), "lost": lost}
        print(json.dumps({**result, "seconds": round(time.monotonic() - began, 1)}))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
