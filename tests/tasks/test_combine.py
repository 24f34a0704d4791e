"""The task `combine`: the weighted sum of kept adapters, its metrics, and the origins in its record."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models import adapters, loading
from pipelines.models.task_adapters import store
from pipelines.models.task_adapters.held import HeldAdapters
from tasks.combine import combine
from tests.pipelines.models.test_task_adapters import QUERIES, kept, logits, wanted

pytestmark = pytest.mark.slow

OTHER: dict[str, Any] = {"r": 2, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]}


def test_combined_adapter_is_the_weighted_sum_of_other_ranks_and_modules(base: Path, config: Config) -> None:
    kept("legal", base, config, 1, **QUERIES)
    kept("tax", base, config, 2, **OTHER)
    out = artifacts.fresh("combine")
    metrics = combine(base, out, wanted({"legal": 1.0, "tax": -0.5}), config.compute)
    assert adapters.parent(out) == base and adapters.lineage(out) == (base, [out])
    plain, one, other, both = (
        dict(loading.load(each, config.compute).named_parameters())
        for each in (base, store.find("legal"), store.find("tax"), out)
    )
    for name, value in plain.items():
        expected = one[name] - 0.5 * (other[name] - value)
        torch.testing.assert_close(both[name], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        logits(HeldAdapters(config.compute).model(out)), logits(loading.load(out, config.compute)), atol=1e-4, rtol=0
    )
    assert metrics["rank"] == 6
    difference = torch.cat([(both[name] - value).flatten() for name, value in plain.items()])
    assert metrics["norm"] == pytest.approx(float(difference.norm()), rel=1e-4)
    legal, tax = (torch.cat([(each[name] - value).flatten() for name, value in plain.items()]) for each in (one, other))
    cosine = torch.nn.functional.cosine_similarity(legal, tax, dim=0)
    assert metrics["cosine.legal.tax"] == pytest.approx(float(cosine), abs=1e-4)
    assert metrics["norm.legal"] == pytest.approx(float(legal.norm()), rel=1e-4)
    assert 0.4 < metrics["sign_conflicts.legal.tax"] < 0.6


def test_record_has_the_origins_of_the_combined_adapters(base: Path, config: Config) -> None:
    for seed, name in enumerate(("legal", "tax")):
        place = kept(name, base, config, seed, **QUERIES)
        artifacts.complete(place, {"stage": "sft", "origin": {"data": f"documents of {name}"}})
    parameters = Path("params.yaml")
    values = yaml.safe_load(parameters.read_text())
    values["combine"]["adapters"] = {"legal": 1.0, "tax": 0.5}
    parameters.write_text(yaml.safe_dump(values))
    runpy.run_module("tasks.combine", run_name="__main__")
    origins = {"legal": {"data": "documents of legal"}, "tax": {"data": "documents of tax"}}
    assert artifacts.record(artifacts.read("combine"))["origins"] == origins
