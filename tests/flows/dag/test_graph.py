"""The project's dvc.yaml as a graph, and the recorded state of stages."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from dvc.repo import Repo

from flows.dag import dvc_lock, graph
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.flows.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole() -> graph.Graph:
    return graph.read(ROOT)


def test_foreach_stages_are_expanded_and_follow_their_parents(whole: graph.Graph) -> None:
    names = [stage.name for stage in whole]
    assert {"align@dpo", "rl@ppo", "evaluate@base", "evaluate@sft", "evaluate@dpo", "evaluate@ppo"} <= set(names)
    for stage in whole:
        assert all(names.index(parent) < names.index(stage.name) for parent in stage.parents)


def test_candidate_is_selected_after_every_evaluation_and_then_compared(whole: graph.Graph) -> None:
    parents = {stage.name: set(stage.parents) for stage in whole}
    evaluations = {"evaluate@base", "evaluate@sft", "evaluate@dpo", "evaluate@ppo"}
    following, tests = {"calibrate", "open_book", "best_of_n"}, {"test@baseline", "test@candidate"}
    assert parents["select"] == evaluations
    assert parents["test@candidate"] == {"select", "split", "curate"}
    assert parents["test@baseline"] == {"evaluate@base", "split", "curate"}  # not asked again for another candidate
    assert all({"base", "select", *evaluations} <= parents[name] for name in following)
    assert all("test@candidate" in parents[name] for name in ("calibrate", "open_book"))
    assert parents["compare"] == {"curate", "select", *following, *tests, *evaluations}


def test_target_includes_only_its_dependencies(whole: graph.Graph) -> None:
    names = {stage.name for stage in whole.towards(["align"])}
    assert {"align@dpo", "sft", "ingest"} <= names
    assert not {"pretrain", "compare", "evaluate@base"} & names
    assert "pretrain" not in {stage.name for stage in whole.towards(["compare"])}
    everything = {stage.name for stage in whole.towards([])}
    assert {"compare", "data_report"} <= everything and "pretrain" not in everything


def test_change_affects_only_downstream_stages(whole: graph.Graph) -> None:
    reached = whole.after(["sft"])
    assert {"sft", "pairs@first", "reward@first", "align@dpo", "evaluate@sft", "compare"} <= reached
    assert not {"base", "ingest", "curate", "evaluate@base", "pretrain"} & reached


def test_only_methods_with_a_reward_model_wait_for_it(whole: graph.Graph) -> None:
    assert "reward@first" not in {stage.name for stage in whole.towards(["align@dpo"])}
    assert "reward@first" in {stage.name for stage in whole.towards(["rl@ppo"])}


def test_unknown_target_is_rejected(whole: graph.Graph) -> None:
    with pytest.raises(UserError, match="'stf' is not a stage"):
        whole.towards(["stf"])


def test_answers_of_the_baseline_depend_on_no_other_model() -> None:
    with Repo(str(ROOT)) as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
    keys = {name: {key for each in stages[name].params for key in each.params} for name in stages}
    assert "evaluate.models" in keys["test@candidate"]
    assert [key for key in keys["test@baseline"] if key.startswith("evaluate.models")] == ["evaluate.models.base"]


def test_inputs_can_be_verified_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's validation of dvc.yaml is not thread-safe; frequent thread switches make a failure certain."""
    monkeypatch.chdir(ROOT)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(dvc_lock.prove, ["base", "ingest"] * 5))
    finally:
        sys.setswitchinterval(interval)
    assert len({inputs.key for inputs in found}) == 2
    assert set(found[1].data) == {"data/raw"}


def test_key_changes_with_parameters_and_code(fake: Project) -> None:
    fake.describe({"ingest": []})
    before = dvc_lock.prove("ingest").key
    fake.change(ingest={"value": "other"})
    assert (after := dvc_lock.prove("ingest").key) != before
    with (fake.path / "fake.py").open("a") as program:
        program.write("# a comment\n")
    assert dvc_lock.prove("ingest").key != after
