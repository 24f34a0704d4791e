"""Short version of `benchmarks/chaos.py --kills 60`."""

from pathlib import Path

import pytest

from benchmarks.chaos import chaos
from tests.support.project import prefect_server, project

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_runs_killed_at_random_moments_lose_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = project(tmp_path)
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        place.environment["PREFECT_API_URL"] = address
        counted = chaos(place, 2, seed=1, graph={"ingest": [], "sft": ["ingest"]})
    assert counted == {"kills": 2, "lost": 0, "unequal": 0, "orphans": 0, "left_running": 0}
