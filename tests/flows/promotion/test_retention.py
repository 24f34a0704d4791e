"""Weights of old versions are removed but their records kept; aliased and recent versions keep their weights."""

from pathlib import Path

import pytest

from flows.promotion import retention
from pipelines.models.release import registry
from pipelines.runtime import tracking_store


@pytest.mark.parametrize("relative", [True, False])  # path format of Gradus, and of MLflow
def test_only_old_versions_without_an_alias_lose_their_weights(project: Path, relative: bool) -> None:
    store = tracking_store.client()
    store.create_registered_model(registry.NAME)
    for number in range(1, 6):
        folder = project / f"mlruns/artifacts/models/m-{number}/artifacts"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(2**20))
        tags = {"model": "sft", "artifact": str(number)}
        place = str(folder.relative_to(project)) if relative else folder.as_uri()
        store.create_model_version(registry.NAME, place, tags=tags)
    store.set_registered_model_alias(registry.NAME, registry.CHAMPION, "1")

    found = retention.removable_weights(2)
    assert [(each.version, each.model, each.size) for each in found] == [(3, "sft", 2**20), (2, "sft", 2**20)]
    for each in found:
        retention.remove(each)
    left = {path.parent.parent.name for path in project.glob("mlruns/artifacts/models/*/artifacts/*")}
    assert left == {"m-1", "m-4", "m-5"}
    assert registry.get(3).tags == {"model": "sft", "artifact": "3", "weights": "removed"}
    assert retention.removable_weights(2) == []


def test_files_outside_of_the_store_are_not_touched(project: Path) -> None:
    store = tracking_store.client()
    store.create_registered_model(registry.NAME)
    (project / "mine").mkdir()
    for name in ("mine", "other"):
        store.create_model_version(registry.NAME, (project / name).as_uri())
    assert retention.removable_weights(1) == []
