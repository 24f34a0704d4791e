"""Measure orchestration overhead: a no-op run, and the overhead per stage over plain `dvc repro`.

python benchmarks/orchestration.py    # {"noop_with_server_s": …, "noop_ephemeral_s": …, "overhead_per_stage_s": …}
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.project import Project, prefect_server, project

REPEATS = 3
CHAIN = {"ingest": [], "clean": ["ingest"], "dedup": ["clean"], "split": ["dedup"]}


def bare(place: Project) -> float:
    """Run the chain with `dvc repro --single-item`; return the seconds."""
    began = time.monotonic()
    for stage in CHAIN:
        place.dvc("repro", "--single-item", stage)
    return time.monotonic() - began


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        place = project(Path(folder))
        place.describe(0, 0.0, graph=CHAIN)
        place.run("split")
        ephemeral = [place.run("split") for _ in range(REPEATS)]
        with prefect_server(Path(home)) as address:
            place.environment["PREFECT_API_URL"] = address
            place.run("split")
            idle = [place.run("split") for _ in range(REPEATS)]
            overheads = []
            for number in range(REPEATS):
                place.describe(2 * number + 1, 0.0, graph=CHAIN)
                ours = place.run("split") - statistics.median(idle)
                place.describe(2 * number + 2, 0.0, graph=CHAIN)
                overheads.append((ours - bare(place)) / len(CHAIN))
    result = {
        "noop_with_server_s": statistics.median(idle),
        "noop_ephemeral_s": statistics.median(ephemeral),
        "overhead_per_stage_s": statistics.median(overheads),
    }
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
