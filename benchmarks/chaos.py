"""Kill runs at random moments, rerun them, and count lost or wrong results.

    python benchmarks/chaos.py --kills 60 --seed 0    # kills, lost, unequal, orphans, left_running
    python benchmarks/chaos.py --locks 20             # runs, lost: eight concurrent stages, 200 MiB each

The last line is one JSON object. `lost` counts finished stages that ran again, `unequal` outputs that differ from those
of an undisturbed run.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from mlflow import MlflowClient

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.project import GRAPH, Project, prefect_server, project

VICTIMS = ("stage", "dvc", "flow", "SIGTERM", "SIGINT")
LAST = "sft"


def finished(place: Project, round_: int) -> set[str]:
    """Return the stages finished in this round according to dvc.lock; none if a killed DVC left it truncated."""
    path = place.path / "dvc.lock"
    try:
        stages = (yaml.safe_load(path.read_text()) or {}).get("stages", {}) if path.exists() else {}
    except yaml.YAMLError:
        return set()
    return {name for name, entry in stages.items() if entry["params"]["fake.yaml"][name]["round"] == round_}


def kill(place: Project, flow: int, victim: str) -> None:
    """Kill the process named by `victim`, or the flow if no such process runs."""
    if victim.startswith("SIG"):
        _send(flow, getattr(signal, victim))
        return
    patterns = {"stage": "stage.py", "dvc": "dvc"}.get(victim)
    found = [
        each.pid for each in place.processes() if patterns and any(patterns in word for word in each.info["cmdline"])
    ]
    _send(random.choice(found) if found else flow, signal.SIGKILL)


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def chaos(place: Project, kills: int, seed: int, graph: dict[str, list[str]] = GRAPH) -> dict[str, int]:
    """Kill `kills` runs of `graph`, each in a new round; return the counts of wrong results."""
    random.seed(seed)
    place.describe(0, 0.3, graph=graph)
    duration = place.run(LAST)
    reference = place.results()
    count: Counter[str] = Counter(kills=0, lost=0, unequal=0, orphans=0, left_running=0)
    for round_ in range(1, kills + 1):
        place.describe(round_, 0.3, graph=graph)
        victim = VICTIMS[round_ % len(VICTIMS)]
        flow = place.start(LAST)
        time.sleep(random.uniform(0.5, duration))
        kill(place, flow.pid, victim)
        flow.wait(timeout=120)
        done, before = finished(place, round_), len(place.started())
        again = place.start(LAST)
        status = again.wait(timeout=300)
        count["kills"] += 1
        count["lost"] += len(done & set(place.started()[before:]))
        same = [not status and place.results().get(name) == reference[name] for name in graph]
        count["unequal"] += same.count(False)
        count["orphans"] += len(place.processes())
        count["left_running"] += running(place)
        print(round_, victim, "status", status, dict(count), file=sys.stderr, flush=True)
        if status:
            print((place.path / "gradus.log").read_text()[-2000:], file=sys.stderr)
    return dict(count)


def running(place: Project) -> int:
    """Return the number of MLflow runs with status RUNNING."""
    store = MlflowClient(f"sqlite:///{place.path / 'mlruns/mlflow.db'}")
    experiment = store.get_experiment_by_name("gradus")
    assert experiment is not None
    return len(store.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"))


def locks(place: Project, runs: int) -> dict[str, int]:
    """Run eight concurrent stages with large outputs, and count those missing from dvc.lock."""
    lost = 0
    for round_ in range(1, runs + 1):
        place.describe(round_, 0.5, 200, {name: [] for name in GRAPH})
        place.start(*GRAPH).wait(timeout=600)
        lost += len(GRAPH) - len(finished(place, round_))
        print(round_, "lost", lost, file=sys.stderr, flush=True)
        place.dvc("gc", "--workspace", "--force")
    return {"runs": runs, "lost": lost}


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--locks", type=int, default=0)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as folder,
        prefect_server(Path(home)) as address,
    ):
        place = project(Path(folder))
        place.environment["PREFECT_API_URL"] = address
        result = chaos(place, args.kills, args.seed) if args.kills else locks(place, args.locks)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
